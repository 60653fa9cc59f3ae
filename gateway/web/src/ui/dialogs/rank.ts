// How well a name answers to a few typed letters. Pure.

/** Better matches are lower: the beginning of the name, of a word, anywhere, letters in order; -1 for none. */
export function rank(name: string, wanted: string): number {
  const text = name.toLowerCase();
  const at = text.indexOf(wanted);
  if (at === 0) return 0;
  if (at > 0) return /[\s_-]/.test(text[at - 1] ?? "") ? 1 : 2;
  let from = 0;
  for (const letter of wanted) {
    from = text.indexOf(letter, from) + 1;
    if (from === 0) return -1;
  }
  return 3;
}
