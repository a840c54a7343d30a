// What a script finds beside the language itself. It is called once a run, with
// the doors to the host and what the task gives.
(function (write, exit, setCode, given) {
  'use strict';
  const { args, env } = JSON.parse(given);
  let code = 0;

  const show = (v) => {
    if (typeof v === 'bigint') return v + 'n';
    if (v instanceof Error) return v + (v.stack ? '\n' + v.stack.trimEnd() : '');
    if (typeof v !== 'object' || v === null) return String(v);
    try {
      return JSON.stringify(v, (_, e) => (typeof e === 'bigint' ? String(e) : e)) ?? String(v);
    } catch {
      return Object.prototype.toString.call(v); // it holds itself
    }
  };
  const printer = (fd) => (...values) => write(fd, values.map(show).join(' ') + '\n');
  const out = printer(1), err = printer(2);
  const stream = (fd) => ({ fd, write: (text) => (write(fd, String(text)), true) });

  const process = {
    argv: ['js', 'script', ...(args ?? [])],
    env: env ?? {},
    stdin: { fd: 0 },
    stdout: stream(1),
    stderr: stream(2),
    get exitCode() { return code; },
    set exitCode(v) { setCode(code = v); },
    exit(v = code) { exit(v); },
  };
  for (const [name, value] of Object.entries({
    process,
    console: { log: out, info: out, debug: out, error: err, warn: err, trace: err },
  })) Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });
})
