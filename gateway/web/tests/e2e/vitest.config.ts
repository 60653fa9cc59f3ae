import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/e2e/**/*.test.ts"],
    environment: "node",
    // One browser at a time: the machine that runs this also runs the server.
    fileParallelism: false,
    testTimeout: 60_000 * Number(process.env["THROTTLE"] ?? 1),
    hookTimeout: 60_000,
  },
});
