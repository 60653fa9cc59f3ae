// Tokens to elements. Nothing here sets HTML from a string.
import { createContext, type ComponentChildren, type VNode } from "preact";
import { useContext, useEffect, useState } from "preact/hooks";
import type { Token, Tokens } from "marked";
import { CheckIcon, CopyIcon } from "../ui/icons";
import { formatTimestamp } from "../ui/time";
import type { Piece } from "./highlight";
import { type EmojiToken, isOnlyEmoji, type MentionToken, parse, type TimestampToken } from "./parse";

/** What the text needs to know about the world: the names behind mentions, and what a click on one does. */
export interface MentionResolver {
  name(mention: MentionToken): string;
  isMe(mention: MentionToken): boolean;
  open(mention: MentionToken): (() => void) | null;
}

const Mentions = createContext<MentionResolver | null>(null);

/** Deeper nesting is shown as it was written. */
const DEPTH_MAX = 12;
const SAFE_LINK = /^(?:https?:\/\/|mailto:)/i;

export function Markdown({ text, mentions, suffix }: { text: string; mentions: MentionResolver; suffix?: ComponentChildren }) {
  const className = isOnlyEmoji(text) ? "markdown markdown-emoji" : "markdown";
  return (
    <Mentions.Provider value={mentions}>
      <div class={className} dir="auto">
        {blocks(parse(text), 0)}
        {suffix}
      </div>
    </Mentions.Provider>
  );
}

function blocks(tokens: readonly Token[], depth: number): ComponentChildren {
  return tokens.map((token, index) => <Block key={index} token={token} depth={depth} />);
}

function inlines(tokens: readonly Token[] | undefined, depth: number): ComponentChildren {
  return (tokens ?? []).map((token, index) => <Inline key={index} token={token} depth={depth} />);
}

function Block({ token, depth }: { token: Token; depth: number }): VNode | null {
  if (depth > DEPTH_MAX) return <p>{token.raw}</p>;
  const below = depth + 1;
  switch (token.type) {
    case "space":
      return null;
    case "paragraph":
      return <p>{inlines((token as Tokens.Paragraph).tokens, below)}</p>;
    case "heading":
      return <p class={`heading heading-${Math.min((token as Tokens.Heading).depth, 3)}`}>{inlines((token as Tokens.Heading).tokens, below)}</p>;
    case "blockquote":
      return <blockquote>{blocks((token as Tokens.Blockquote).tokens, below)}</blockquote>;
    case "code":
      return <CodeBlock code={(token as Tokens.Code).text} language={(token as Tokens.Code).lang ?? ""} />;
    case "list":
      return <List list={token as Tokens.List} depth={below} />;
    case "hr":
      return <hr />;
    default:
      return <Inline token={token} depth={below} />;
  }
}

function List({ list, depth }: { list: Tokens.List; depth: number }) {
  const items = list.items.map((item, index) => (
    <li key={index}>
      {item.task && <input type="checkbox" checked={item.checked ?? false} disabled aria-label="Task" />}
      {blocks(item.tokens.filter((token) => token.type !== "checkbox"), depth)}
    </li>
  ));
  return list.ordered ? <ol start={Number(list.start) || 1}>{items}</ol> : <ul>{items}</ul>;
}

function Inline({ token, depth }: { token: Token; depth: number }): VNode {
  if (depth > DEPTH_MAX) return <>{token.raw}</>;
  const nested = (token as Tokens.Generic).tokens;
  const below = depth + 1;
  switch (token.type) {
    case "strong":
      return <strong>{inlines(nested, below)}</strong>;
    case "em":
      return <em>{inlines(nested, below)}</em>;
    case "del":
      return <s>{inlines(nested, below)}</s>;
    case "underline":
      return <u>{inlines(nested, below)}</u>;
    case "codespan":
      return <code>{(token as Tokens.Codespan).text}</code>;
    case "br":
      return <br />;
    case "link":
      return <Link link={token as Tokens.Link} depth={below} />;
    case "image":
      return <Anchor href={(token as Tokens.Image).href}>{(token as Tokens.Image).text || (token as Tokens.Image).href}</Anchor>;
    case "spoiler":
      return <Spoiler>{inlines(nested, below)}</Spoiler>;
    case "mention":
      return <Mention mention={token as MentionToken} />;
    case "timestamp":
      return <Timestamp token={token as TimestampToken} />;
    case "emoji":
      return <>:{(token as EmojiToken).name}:</>;
    default:
      return <>{nested ? inlines(nested, below) : "text" in token ? String(token.text) : token.raw}</>;
  }
}

function Link({ link, depth }: { link: Tokens.Link; depth: number }) {
  return <Anchor href={link.href}>{inlines(link.tokens, depth)}</Anchor>;
}

function Anchor({ href, children }: { href: string; children: ComponentChildren }) {
  if (!SAFE_LINK.test(href)) return <>{children}</>;
  return (
    <a href={href} target="_blank" rel="noopener noreferrer" title={href}>
      {children}
    </a>
  );
}

function Spoiler({ children }: { children: ComponentChildren }) {
  const [isOpen, setOpen] = useState(false);
  if (isOpen) return <span class="spoiler spoiler-open">{children}</span>;
  return (
    <button type="button" class="spoiler" aria-label="Spoiler, press to show" onClick={() => setOpen(true)}>
      <span aria-hidden="true">{children}</span>
    </button>
  );
}

function Mention({ mention }: { mention: MentionToken }) {
  const resolver = useContext(Mentions);
  const name = resolver?.name(mention) ?? mention.raw;
  const className = resolver?.isMe(mention) ? "mention mention-me" : "mention";
  const open = resolver?.open(mention);
  if (!open) return <span class={className}>{name}</span>;
  return (
    <button type="button" class={className} onClick={open}>
      {name}
    </button>
  );
}

function Timestamp({ token }: { token: TimestampToken }) {
  const date = new Date(token.timeMs);
  if (Number.isNaN(date.getTime())) return <>{token.raw}</>;
  return (
    <time dateTime={date.toISOString()} title={date.toLocaleString()} class="timestamp">
      {formatTimestamp(token.timeMs, token.style, Date.now())}
    </time>
  );
}

function pieces(list: readonly Piece[]): ComponentChildren {
  return list.map((piece, index) =>
    typeof piece === "string" ? piece : <span key={index} class={piece.classes}>{pieces(piece.pieces)}</span>,
  );
}

function CodeBlock({ code, language }: { code: string; language: string }) {
  const [colored, setColored] = useState<readonly Piece[] | null>(null);
  const [isCopied, setCopied] = useState(false);
  const name = language.trim().split(/\s/)[0]?.toLowerCase() ?? "";
  useEffect(() => {
    if (!name) return;
    let isCurrent = true;
    import("./highlight").then(
      ({ highlight }) => isCurrent && setColored(highlight(code, name)),
      () => undefined, // Code without colours is still code.
    );
    return () => void (isCurrent = false);
  }, [code, name]);
  const copy = async (): Promise<void> => {
    await navigator.clipboard?.writeText(code);
    setCopied(true);
    setTimeout(() => setCopied(false), 1_500);
  };
  return (
    <div class="code-block">
      <pre tabIndex={0} aria-label={name ? `Code in ${name}` : "Code"} role="region">
        <code>{colored ? pieces(colored) : code}</code>
      </pre>
      <button type="button" class="code-copy icon-button" onClick={() => void copy()} aria-label={isCopied ? "Copied" : "Copy the code"}>
        {isCopied ? <CheckIcon /> : <CopyIcon />}
      </button>
    </div>
  );
}
