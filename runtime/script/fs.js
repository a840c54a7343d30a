// The module node:fs: standard input, output and error, for there are no files.
// The text of standard input comes before it, as the constant stdin.
const refuse = (file) => {
  throw new Error(`a script has no files: it reads 0 or /dev/stdin, and writes 1 or 2, not ${String(file)}`);
};
const streams = new Map([[1, 1], ['/dev/stdout', 1], [2, 2], ['/dev/stderr', 2]]);
const { stdout, stderr } = process;
export const readFileSync = (file) => (file === 0 || file === '/dev/stdin' ? stdin : refuse(file));
export const writeFileSync = (file, text) => {
  const fd = streams.get(file) ?? refuse(file);
  (fd === 1 ? stdout : stderr).write(text);
};
export const writeSync = writeFileSync;
export default { readFileSync, writeFileSync, writeSync };
