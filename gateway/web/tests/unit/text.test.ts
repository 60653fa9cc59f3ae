import type { Token } from "marked";
import { describe, expect, test } from "vitest";
import { isOnlyEmoji, parse, plainText } from "../../src/markdown/parse";
import { candidates, fromWire, queryAt, toWire } from "../../src/ui/conversation/completion";
import { typingSentence } from "../../src/ui/conversation/TypingLine";
import { rank } from "../../src/ui/dialogs/rank";
import { daysBetween, formatRelative } from "../../src/ui/time";
import { user } from "./fake";

/** The types of all tokens, nested ones too. */
function types(text: string): string[] {
  const collect = (tokens: readonly Token[]): string[] => tokens.flatMap((token) => [token.type, ...("tokens" in token && token.tokens ? collect(token.tokens) : [])]);
  return collect(parse(text));
}

describe("markdown", () => {
  test.each([
    "<b>bold</b>",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a <i>b</i> c",
    "<!-- x -->",
    "<div>\n\n**x**\n\n</div>",
    "&lt;b&gt;",
  ])("%j has no HTML in it, only text", (text) => {
    expect(types(text)).not.toContain("html");
    expect(plainText(text, () => "")).toContain(text.includes("**") ? "x" : text.slice(0, 3));
  });

  test("knows what chat uses", () => {
    expect(types("**a** *b* ~~c~~ `d` __e__ ||f||")).toEqual(expect.arrayContaining(["strong", "em", "del", "codespan", "underline", "spoiler"]));
    expect(types("> q\n\n- l\n\n```rust\nfn a() {}\n```")).toEqual(expect.arrayContaining(["blockquote", "list", "code"]));
    expect(types("see https://example.org/a_b_c now")).toContain("link");
  });

  test("leaves alone what people do not mean", () => {
    expect(types("    four spaces")).not.toContain("code");
    expect(types("title\n---")).not.toContain("heading");
    expect(types("snake_case_name")).not.toContain("em");
    expect(types("[a]: https://example.org")).not.toContain("def");
  });

  test("finds mentions, times and custom emoji, but not inside code", () => {
    expect(parse("<@12> <#34> <t:0:R> <:blob:56> @everyone")[0]).toMatchObject({
      tokens: expect.arrayContaining([
        expect.objectContaining({ type: "mention", target: "user", id: "12" }),
        expect.objectContaining({ type: "mention", target: "channel", id: "34" }),
        expect.objectContaining({ type: "timestamp", timeMs: 0, style: "R" }),
        expect.objectContaining({ type: "emoji", name: "blob" }),
        expect.objectContaining({ type: "mention", target: "everyone" }),
      ]),
    });
    expect(types("`<@12>`")).not.toContain("mention");
  });

  test("survives nesting beyond reason", () => {
    expect(() => parse(">".repeat(2_000) + "x")).not.toThrow();
    expect(() => parse("*".repeat(2_000) + "x" + "*".repeat(2_000))).not.toThrow();
    expect(() => parse("[".repeat(2_000))).not.toThrow();
  });

  test("becomes one plain line for quotes", () => {
    expect(plainText("**a**\n> b\n\n<@1> ||c||", () => "@ada")).toBe("a b @ada (spoiler)");
  });

  test("a few emoji alone are shown large, text is not", () => {
    expect(isOnlyEmoji("🎉 ❤️ 👩‍💻")).toBe(true);
    expect(isOnlyEmoji("🎉 yes")).toBe(false);
    expect(isOnlyEmoji("7")).toBe(false);
  });
});

describe("names while writing", () => {
  const ada = user("1", "ada");
  const adam = user("2", "adam");
  const general = { id: "9", type: 0, name: "general" };

  test("the name at the caret is found, an address in a mail is not", () => {
    expect(queryAt("hi @ad", 6)).toEqual({ sigil: "@", prefix: "ad", start: 3 });
    expect(queryAt("#", 1)).toEqual({ sigil: "#", prefix: "", start: 0 });
    expect(queryAt("mail@ad", 7)).toBeNull();
    expect(queryAt("hi @ad x", 8)).toBeNull();
    expect(queryAt("so :par", 7)).toEqual({ sigil: ":", prefix: "par", start: 3 });
    expect([queryAt(":)", 2), queryAt(":p", 2), queryAt("3:45", 4)]).toEqual([null, null, null]);
  });

  test("names that begin with what was typed come first", () => {
    const all = ["madam", "adam", "zoe"].map((text) => ({ id: text, text, hint: text }));
    expect(candidates("ad", all).map((one) => one.text)).toEqual(["adam", "madam"]);
  });

  test("written names become references and back, except in code", () => {
    const wire = toWire("@ada and @Adam in #general, not `@ada` nor @adamant", [ada, adam], [general]);
    expect(wire).toBe("<@1> and <@2> in <#9>, not `@ada` nor @adamant");
    expect(fromWire(wire, (id) => (id === "1" ? ada : id === "2" ? adam : undefined), () => general)).toBe("@ada and @adam in #general, not `@ada` nor @adamant");
  });
});

test("the typing line names one, two, three, then counts in words", () => {
  expect(typingSentence([])).toBe("");
  expect(typingSentence(["ada"])).toBe("ada is typing…");
  expect(typingSentence(["ada", "grace"])).toBe("ada and grace are typing…");
  expect(typingSentence(["a", "b", "c", "d"])).toBe("Several people are typing…");
  expect(typingSentence(Array.from({ length: 11 }, String))).toBe("Many people are typing…");
});

test("the switcher prefers beginnings, then words, then letters in order", () => {
  expect([rank("general", "gen"), rank("the general", "gen"), rank("oxygen", "gen"), rank("gardening", "gng"), rank("ada", "x")]).toEqual([0, 1, 2, 3, -1]);
});

test("days are counted by the calendar, and spans in the largest unit", () => {
  const night = new Date(2026, 2, 1, 0, 10).getTime();
  expect(daysBetween(new Date(2026, 1, 28, 23, 50).getTime(), night)).toBe(1);
  expect(formatRelative(night - 3 * 3_600_000, night)).toMatch(/3/);
});
