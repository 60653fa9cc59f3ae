// Three chatdb nodes as processes of their own, on loopback addresses that no other run uses.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { binary } from "./server";

const READY_WITHIN_MS = 60_000;

export class Nodes {
  private readonly processes: (ChildProcess | null)[] = [];
  private readonly dir = mkdtempSync(join(tmpdir(), "chatdb-e2e-"));
  private output = "";

  private constructor(private readonly count: number) {}

  static async start(count = 3): Promise<Nodes> {
    const nodes = new Nodes(count);
    for (let node = 0; node < count; node += 1) await nodes.up(node);
    return nodes;
  }

  private host(node: number): string {
    return `127.${230 + (process.pid % 20)}.${(process.pid >> 5) & 255}.${node + 1}`;
  }

  /** The gRPC addresses of all nodes, as `flux serve --db` takes them. */
  get endpoints(): string {
    return Array.from({ length: this.count }, (_, node) => `http://${this.host(node)}:7400`).join(",");
  }

  get log(): string {
    return this.output;
  }

  /** Starts the node on its directory and waits until it serves. */
  async up(node: number): Promise<void> {
    const host = this.host(node);
    const options = ["--data", join(this.dir, `node${node}`), "--grpc", `${host}:7400`, "--node-listen", `${host}:7500`, "--zone", `zone${node}`];
    if (node > 0) options.push("--join", `http://${this.host(0)}:7400`);
    const child = spawn(binary("chatdb"), ["serve", ...options], { stdio: ["ignore", "pipe", "pipe"] });
    this.processes[node] = child;
    await new Promise<void>((done, failed) => {
      const late = setTimeout(() => failed(new Error(`node ${node} is not ready:\n${this.output}`)), READY_WITHIN_MS);
      child.once("exit", (code) => failed(new Error(`node ${node} ended with ${code}:\n${this.output}`)));
      for (const stream of [child.stdout, child.stderr]) {
        stream.on("data", (bytes) => {
          this.output += String(bytes);
          if (!String(bytes).includes("is ready")) return;
          clearTimeout(late);
          child.removeAllListeners("exit");
          done();
        });
      }
    });
  }

  /** How many tablets the node leads, as the cluster tells. */
  async leads(node: number): Promise<number> {
    const { stdout } = await promisify(execFile)(binary("chatdb"), ["cluster", "status", "--json", "--at", this.endpoints]);
    const { tablets } = JSON.parse(stdout) as { tablets: { leader: number | null }[] };
    return tablets.filter((tablet) => tablet.leader === node + 1).length;
  }

  /** Ends the node as a power cut would, and waits until it is gone. */
  async kill(node: number, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.processes[node];
    this.processes[node] = null;
    if (!child || child.exitCode !== null) return;
    const gone = new Promise((done) => child.once("exit", done));
    child.kill(signal);
    await gone;
  }

  async remove(): Promise<void> {
    await Promise.all(this.processes.map((_, node) => this.kill(node, "SIGTERM")));
    rmSync(this.dir, { recursive: true, force: true });
  }
}
