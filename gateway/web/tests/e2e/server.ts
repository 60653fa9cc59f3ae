// The real server: the flux binary on a temporary data directory, or over a cluster, and a free port. FLUX_BIN and CHATDB_BIN
// name the binaries; without them the debug build of this workspace is used, then the release build.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** How long the server may take until it is ready, in milliseconds; a debug build on a busy machine is slow. */
const READY_WITHIN_MS = 60_000;

export function binary(name: "flux" | "chatdb"): string {
  const variable = `${name.toUpperCase()}_BIN`;
  const target = (profile: string): string => fileURLToPath(new URL(`../../../../target/${profile}/${name}`, import.meta.url));
  const found = process.env[variable] ?? [target("debug"), target("release")].find((path) => existsSync(path));
  if (!found) throw new Error(`no ${name} binary: build it with 'cargo build --bin ${name}', or name it in ${variable}`);
  return found;
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((done) => probe.listen(0, "127.0.0.1", done));
  const address = probe.address();
  await new Promise((done) => probe.close(done));
  if (typeof address !== "object" || !address) throw new Error("no free port");
  return address.port;
}

export class FluxServer {
  private process: ChildProcess | null = null;
  private output = "";

  private constructor(
    readonly url: string,
    private readonly listen: string,
    private readonly data: string,
    private readonly database: string[],
  ) {}

  /** Over the cluster at `db`, or over a database of its own. */
  static async start(db?: string): Promise<FluxServer> {
    const listen = `127.0.0.1:${await freePort()}`;
    const data = mkdtempSync(join(tmpdir(), "flux-e2e-"));
    const server = new FluxServer(`http://${listen}`, listen, data, db ? ["--db", db] : ["--data", data]);
    await server.up();
    return server;
  }

  /** Starts the process on the same data and port; without rate limits, because one test writes hundreds of messages. */
  async up(): Promise<void> {
    const child = spawn(binary("flux"), ["serve", ...this.database, "--listen", this.listen, "--no-rate-limits"], { stdio: ["ignore", "pipe", "pipe"] });
    this.process = child;
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (bytes) => (this.output += String(bytes)));
    const deadline = Date.now() + READY_WITHIN_MS;
    for (;;) {
      if (child.exitCode !== null) throw new Error(`flux ended with ${child.exitCode}:\n${this.output}`);
      const answer = await fetch(`${this.url}/api/v10/instance`).catch(() => null);
      if (answer?.ok) return;
      if (Date.now() > deadline) throw new Error(`flux is not ready after ${READY_WITHIN_MS} ms:\n${this.output}`);
      await new Promise((done) => setTimeout(done, 100));
    }
  }

  /** Ends the process as a power cut would, and waits until it is gone. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.process;
    this.process = null;
    if (!child || child.exitCode !== null) return;
    const gone = new Promise((done) => child.once("exit", done));
    child.kill(signal);
    await gone;
  }

  async remove(): Promise<void> {
    await this.kill("SIGTERM");
    rmSync(this.data, { recursive: true, force: true });
  }

  get log(): string {
    return this.output;
  }
}
