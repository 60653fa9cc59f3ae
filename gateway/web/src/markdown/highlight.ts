// Syntax colours for fenced code. Loaded when the first block with a language comes in sight.
import { createLowlight } from "lowlight";
import bash from "highlight.js/lib/languages/bash";
import c from "highlight.js/lib/languages/c";
import cpp from "highlight.js/lib/languages/cpp";
import css from "highlight.js/lib/languages/css";
import diff from "highlight.js/lib/languages/diff";
import go from "highlight.js/lib/languages/go";
import ini from "highlight.js/lib/languages/ini";
import java from "highlight.js/lib/languages/java";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import markdown from "highlight.js/lib/languages/markdown";
import python from "highlight.js/lib/languages/python";
import ruby from "highlight.js/lib/languages/ruby";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";

const languages = {
  bash, c, cpp, css, diff, go, ini, java, javascript, json, markdown, python, ruby, rust, sql, typescript, xml, yaml,
};
const lowlight = createLowlight(languages);

/** A piece of code: plain text, or nested pieces with the classes of a style. */
export type Piece = string | { readonly classes: string; readonly pieces: readonly Piece[] };

interface Node {
  type: string;
  value?: string;
  properties?: { className?: unknown };
  children?: Node[];
}

function toPiece(node: Node): Piece {
  if (node.type === "text") return node.value ?? "";
  const names = node.properties?.className;
  return { classes: Array.isArray(names) ? names.join(" ") : "", pieces: (node.children ?? []).map(toPiece) };
}

/** Null when the language is not among ours. */
export function highlight(code: string, language: string): readonly Piece[] | null {
  if (!lowlight.registered(language)) return null;
  return (lowlight.highlight(language, code).children as Node[]).map(toPiece);
}
