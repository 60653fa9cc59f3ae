// How the page is built. `npm run build` writes dist/, which the flux binary embeds.
// `npm run dev` serves the sources and forwards the API and the gateway socket to a running server (FLUX_URL).
import { defineConfig, type Plugin } from "vite";

const server = process.env["FLUX_URL"] ?? "http://127.0.0.1:8080";

// The built page may load only what it brought along; messages may show pictures from elsewhere. The development
// server injects inline scripts, so the policy is added to the build alone.
const POLICY = [
  "default-src 'self'",
  "connect-src 'self' ws: wss:",
  "img-src 'self' data: blob: http: https:",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'self'",
].join("; ");

function contentSecurityPolicy(): Plugin {
  return {
    name: "content-security-policy",
    apply: "build",
    transformIndexHtml: () => [
      { tag: "meta", attrs: { "http-equiv": "Content-Security-Policy", content: POLICY }, injectTo: "head-prepend" },
    ],
  };
}

export default defineConfig({
  plugins: [contentSecurityPolicy()],
  // light-dark() and <dialog> set the oldest browsers: spring 2024.
  build: { target: ["chrome123", "firefox121", "safari17.5"], outDir: "dist", emptyOutDir: true, modulePreload: { polyfill: false } },
  server: {
    proxy: {
      "/api": { target: server },
      "/gateway": { target: server, ws: true },
    },
  },
});
