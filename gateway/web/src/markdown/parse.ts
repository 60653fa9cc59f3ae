// Markdown as chat uses it, parsed to a tree of tokens. Raw HTML does not exist here: the rules that would recognise it
// are switched off, so `<b>` is four characters of text, and the view builds elements from tokens and never from strings.
// Link definitions, indented code and tables are off as well: people who paste text do not mean them.
import { Marked, type Token, type TokenizerAndRendererExtension, type Tokens } from "marked";

/** Parsed messages kept, so that a row that scrolls back into sight costs nothing. */
const CACHE_MAX = 1_000;

export interface MentionToken extends Tokens.Generic {
  type: "mention";
  target: "user" | "channel" | "role" | "everyone";
  id: string;
}
export interface TimestampToken extends Tokens.Generic {
  type: "timestamp";
  timeMs: number;
  style: string;
}
export interface EmojiToken extends Tokens.Generic {
  type: "emoji";
  name: string;
}

interface Rule {
  name: string;
  /** Where the rule may begin; the parser stops its plain text there. */
  hint: RegExp;
  pattern: RegExp;
  token(match: RegExpExecArray): Record<string, unknown>;
}

const RULES: Rule[] = [
  {
    name: "mention",
    hint: /<[@#]|@(?:everyone|here)/,
    pattern: /^(?:<(@!?|@&|#)(\d{1,20})>|@(everyone|here)(?!\w))/,
    token: ([, sigil, id, all]) =>
      all ? { target: "everyone", id: all } : { target: sigil === "#" ? "channel" : sigil === "@&" ? "role" : "user", id },
  },
  {
    name: "timestamp",
    hint: /<t:/,
    pattern: /^<t:(-?\d{1,12})(?::([tTdDfFR]))?>/,
    token: ([, seconds, style]) => ({ timeMs: Number(seconds) * 1000, style: style ?? "f" }),
  },
  { name: "emoji", hint: /<a?:/, pattern: /^<a?:(\w{2,32}):\d{1,20}>/, token: ([, name]) => ({ name }) },
];

function ruleExtension(rule: Rule): TokenizerAndRendererExtension {
  return {
    name: rule.name,
    level: "inline",
    start: (source) => rule.hint.exec(source)?.index,
    tokenizer: (source) => {
      const match = rule.pattern.exec(source);
      return match ? { type: rule.name, raw: match[0], ...rule.token(match) } : undefined;
    },
  };
}

/** Text between two equal marks, with markdown inside. */
function pairExtension(name: string, hint: string, pattern: RegExp): TokenizerAndRendererExtension {
  return {
    name,
    level: "inline",
    start: (source) => {
      const index = source.indexOf(hint);
      return index < 0 ? undefined : index;
    },
    tokenizer(source) {
      const match = pattern.exec(source);
      return match ? { type: name, raw: match[0], tokens: this.lexer.inlineTokens(match[1] ?? "") } : undefined;
    },
  };
}

const off = (): undefined => undefined;

const parser = new Marked({ gfm: true, breaks: true });
parser.use({
  tokenizer: { html: off, tag: off, def: off, code: off, lheading: off, table: off, reflink: off },
  extensions: [
    ...RULES.map(ruleExtension),
    pairExtension("spoiler", "||", /^\|\|(?=\S)([^]+?)\|\|/),
    pairExtension("underline", "__", /^__(?=\S)([^]*?[^\s_])__(?!_)/),
  ],
});

const cache = new Map<string, readonly Token[]>();

export function parse(text: string): readonly Token[] {
  const known = cache.get(text);
  if (known) return known;
  let tokens: readonly Token[];
  try {
    tokens = parser.lexer(text);
  } catch {
    // Nesting beyond the parser's stack: shown as it was written.
    tokens = [{ type: "text", raw: text, text }];
  }
  if (cache.size >= CACHE_MAX) cache.delete(cache.keys().next().value ?? "");
  cache.set(text, tokens);
  return tokens;
}

const BLOCKS = new Set(["paragraph", "blockquote", "heading", "list_item", "code"]);

/** The words of a message without marks, for one-line quotes, titles and the live region. */
export function plainText(text: string, nameOf: (mention: MentionToken) => string): string {
  const collect = (tokens: readonly Token[]): string =>
    tokens
      .map((token) => {
        if (token.type === "mention") return nameOf(token as MentionToken);
        if (token.type === "emoji") return `:${(token as EmojiToken).name}:`;
        if (token.type === "spoiler") return "(spoiler)";
        if (token.type === "list") return collect((token as Tokens.List).items);
        if (token.type === "br" || token.type === "space") return " ";
        const nested = (token as Tokens.Generic).tokens;
        const isBlock = BLOCKS.has(token.type);
        if (nested) return isBlock ? ` ${collect(nested)} ` : collect(nested);
        return "text" in token ? String(token.text) : token.raw;
      })
      .join("");
  return collect(parse(text)).replace(/\s+/g, " ").trim();
}

/** True for a message of nothing but a few emoji, which is shown larger. */
export function isOnlyEmoji(text: string): boolean {
  return /^(?:\p{Extended_Pictographic}(?:\uFE0F|\u200D\p{Extended_Pictographic}|\p{Emoji_Modifier})*\s*){1,8}$/u.test(text.trim());
}
