import { describe, expect, it } from "vitest";
import { tidyName } from "./names";

describe("a name", () => {
  it("stands without what is beside it anyway", () => {
    expect(tidyName("proc", "1014, gaussdb, Node A")).toBe("gaussdb (1014)");
    expect(tidyName("proc", "9, npm exec tsc, -v, vm")).toBe("npm exec tsc, -v (9)");
    expect(tidyName("proc", "1014, stress, Node A +3")).toBe("stress (1014) +3");
    expect(tidyName("thread", "17732, redis-server")).toBe("redis-server (17732)");
    expect(tidyName("tcp_link", "7468, 10.0.0.2 → 10.0.0.1:6379")).toBe("10.0.0.2 → 10.0.0.1:6379");
  });
  it("that is already tidy stays", () => {
    expect(tidyName("proc", "stress (4711)")).toBe("stress (4711)");
    expect(tidyName("sli", "REDIS, GET, redis-server")).toBe("REDIS, GET, redis-server");
  });
});
