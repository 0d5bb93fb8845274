// Words of a search. Pure.

/** The hub looks for one piece of text; the rarest of several words is most likely the longest. */
export function longestWord(text: string): string {
  return text.split(/\s+/).reduce((best, word) => (word.length > best.length ? word : best), "");
}

/** Every word of the query occurs somewhere in the text. */
export function matches(text: string, query: string): boolean {
  const low = text.toLowerCase();
  return query
    .toLowerCase()
    .split(/\s+/)
    .every((word) => low.includes(word));
}
