// Numbers that look measured and are the same at every run.

/** Reproducible noise in -1..1. */
export function noise(seed, step) {
  const x = Math.sin(seed * 127.1 + step * 311.7) * 43758.5453;
  return 2 * (x - Math.floor(x)) - 1;
}
export const hash = (text) => [...text].reduce((sum, char) => (sum * 31 + char.charCodeAt(0)) % 9973, 7);
