import { describe, expect, it } from "vitest";
import { dictionary } from "./dictionary";

const PLACEHOLDER = /\{\{\w+\}\}/g;

describe("the dictionary", () => {
  it("fills the same places in both languages", () => {
    for (const [key, [en, zh]] of Object.entries(dictionary)) {
      expect(en && zh, key).toBeTruthy();
      expect([...zh.matchAll(PLACEHOLDER)].map(String).sort(), key).toEqual([...en.matchAll(PLACEHOLDER)].map(String).sort());
    }
  });
  it("closes its markup", () => {
    for (const pair of Object.values(dictionary))
      for (const text of pair) for (const mark of ["**", "!!", "`"]) expect(text.split(mark).length % 2, text).toBe(1);
  });
});
