/** What to register, and where. */
export interface Options {
  /** Base URL of weft. */
  server: string;
  /** The name that others call. */
  service: string;
  /** Base URL at which weft reaches this program. */
  url: string;
  /** Default "default". */
  namespace?: string;
  /** Default: service, host name and chance; two programs must not share one. */
  instance?: string;
  /** Calls prefer instances of their own zone. */
  zone?: string;
  /** Its share of calls, 1 to 1000; default 100. */
  weight?: number;
  /** What weft asks every 5 seconds: a path such as /healthz, grpc or grpc:SERVICE. */
  health?: string;
  /** Default 15,000; weft forgets the instance so long after its last heartbeat. */
  ttlMs?: number;
  /** Default 200; at the end, for calls that are on their way when weft makes no more. */
  lingerMs?: number;
  /** Default 200; wait after the first failure, doubled at each further one. */
  retryMinMs?: number;
  /** Default a third of ttlMs. */
  retryMaxMs?: number;
  /** Default 3,000; of one request to weft. */
  timeoutMs?: number;
  /** Ends keep. Without it SIGTERM and SIGINT do. */
  signal?: AbortSignal;
  /** Hears what happens; default: nobody. */
  log?: (message: string) => void;
}

/**
 * Registers the program and keeps it registered until it is told to end. Then it
 * has weft make no new calls, waits for those on their way to arrive, and takes
 * the registration back: the program may end when the calls in progress have.
 * The promise resolves then, and rejects only when the options are not usable:
 * whatever weft does meanwhile (it is away, it restarts, it has forgotten the
 * lease) keep goes on trying.
 */
export function keep(options: Options): Promise<void>;
