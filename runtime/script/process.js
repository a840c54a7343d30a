// The module node:process.
const process = globalThis.process;
export const { argv, env, stdin, stdout, stderr, exit } = process;
export default process;
