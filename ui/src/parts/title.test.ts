import { expect, it } from "vitest";
import { titleOf } from "./title";

it("a tab is named by its page, led by the number of open incidents", () => {
  expect(titleOf("Map", "")).toBe("Map · gala");
  expect(titleOf("Map", "2")).toBe("(2) Map · gala");
  expect(titleOf("", "100+")).toBe("(100+) gala");
});
