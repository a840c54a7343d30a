/** The codes of Connect. */
export enum Code {
  OK,
  Canceled,
  Unknown,
  InvalidArgument,
  DeadlineExceeded,
  NotFound,
  AlreadyExists,
  PermissionDenied,
  ResourceExhausted,
  FailedPrecondition,
  Aborted,
  OutOfRange,
  Unimplemented,
  Internal,
  Unavailable,
  DataLoss,
  Unauthenticated,
}

/** How a call fails: the caller gets both. */
export class Failure {
  constructor(public code: Code, public message: string) {}
}

let first: Failure | null = null;

/** fail has the running call fail. Of several failures the first counts. */
export function fail(code: Code, message: string): void {
  if (!first) first = new Failure(code == Code.OK ? Code.Unknown : code, message);
}

export function failed(): bool {
  return first !== null;
}

/** recover is the failure so far, which is no more. */
export function recover(): Failure | null {
  const f = first;
  first = null;
  return f;
}
