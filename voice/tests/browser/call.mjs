// Two Chromium pages in one room of a node: each publishes a voice and a picture in three layers, each gets the other's.
//
//     PLAYWRIGHT=DIRECTORY node call.mjs NODE
//
// NODE is the program of voice/examples/stdio.rs, DIRECTORY that of the package playwright-core. What is asserted comes
// from the browsers' own statistics: decoded frames, sound, the SRTP cipher, lost packets, the layer's size.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { chromium } = createRequire(import.meta.url)(process.env.PLAYWRIGHT ?? "playwright-core");

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--autoplay-policy=no-user-gesture-required",
  "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream",
  "--allow-loopback-in-peer-connection",
  "--disable-features=WebRtcHideLocalIpsWithMdns",
];

function startNode(program) {
  const process = spawn(program, { stdio: ["pipe", "pipe", "inherit"] });
  const waiting = [];
  createInterface({ input: process.stdout }).on("line", (line) => waiting.shift()(JSON.parse(line)));
  const ask = (request) =>
    new Promise((resolve) => {
      waiting.push(resolve);
      process.stdin.write(JSON.stringify(request) + "\n");
    });
  return { ask, stop: () => process.stdin.end() };
}

// In the page.
async function publish(participant) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 480 } });
  const connection = new RTCPeerConnection();
  for (const track of stream.getTracks()) {
    const sendEncodings =
      track.kind === "video"
        ? [
            { rid: "q", scaleResolutionDownBy: 4 },
            { rid: "h", scaleResolutionDownBy: 2 },
            { rid: "f" },
          ]
        : undefined;
    connection.addTransceiver(track, { direction: "sendonly", streams: [stream], sendEncodings });
  }
  globalThis.publisher = connection;
  await connection.setLocalDescription();
  const { answer, error } = await globalThis.join({ role: "publish", participant, offer: connection.localDescription.sdp });
  if (error) throw new Error(error);
  await connection.setRemoteDescription({ type: "answer", sdp: answer });
}

async function subscribe(participant) {
  const connection = new RTCPeerConnection();
  connection.addTransceiver("audio", { direction: "recvonly" });
  connection.addTransceiver("video", { direction: "recvonly" });
  connection.ontrack = ({ track }) => {
    const element = document.body.appendChild(document.createElement(track.kind));
    element.srcObject = new MediaStream([track]);
    element.play();
  };
  globalThis.subscriber = connection;
  await connection.setLocalDescription();
  const { answer, error } = await globalThis.join({ role: "subscribe", participant, offer: connection.localDescription.sdp });
  if (error) throw new Error(error);
  await connection.setRemoteDescription({ type: "answer", sdp: answer });
}

async function statistics() {
  const of = async (connection) => [...(await connection.getStats()).values()];
  const received = await of(globalThis.subscriber);
  const sent = await of(globalThis.publisher);
  const inbound = (kind) => received.find((entry) => entry.type === "inbound-rtp" && entry.kind === kind) ?? {};
  return {
    ciphers: [...received, ...sent].filter((entry) => entry.type === "transport").map((entry) => entry.srtpCipher),
    audio: inbound("audio"),
    video: inbound("video"),
    layers: sent.filter((entry) => entry.type === "outbound-rtp" && entry.kind === "video"),
    pairs: sent.filter((entry) => entry.type === "candidate-pair"),
  };
}

async function until(what, patience, look) {
  const end = Date.now() + patience;
  for (;;) {
    const found = await look();
    if (found === true) return;
    if (Date.now() > end) assert.fail(`${what}: ${JSON.stringify(found)}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

const node = startNode(process.argv[2]);
const server = createServer((_, response) => response.setHeader("content-type", "text/html").end("<body></body>"));
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: FLAGS });
try {
  const pages = [];
  for (const participant of [1, 2]) {
    const page = await browser.newPage();
    await page.exposeFunction("join", node.ask);
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    pages.push({ page, participant });
  }
  for (const { page, participant } of pages) await page.evaluate(publish, participant);
  for (const { page, participant } of pages) await page.evaluate(subscribe, participant);
  for (const { page } of pages) {
    await until("a picture and a voice", 30_000, async () => {
      const { audio, video } = await page.evaluate(statistics);
      return (video.framesDecoded > 60 && audio.totalAudioEnergy > 0.001) || { video, audio };
    });
    // It begins with the lowest, 160 pixels wide. The best needs a browser that believes in its way up, which it does only
    // on a machine that is otherwise idle.
    await until("a better layer", 30_000, async () => {
      const { video, layers } = await page.evaluate(statistics);
      return video.frameWidth >= 320 || { width: video.frameWidth, layers };
    });
    const { ciphers, audio, video } = await page.evaluate(statistics);
    assert.deepEqual(ciphers, ["SRTP_AEAD_AES_128_GCM", "SRTP_AEAD_AES_128_GCM"]);
    assert.equal(video.packetsLost, 0);
    assert.equal(video.freezeCount, 0, "no freeze, also not over the changes of layer");
    console.log(
      `decoded ${video.framesDecoded} frames, now ${video.frameWidth}x${video.frameHeight}, ` +
        `${audio.packetsReceived} voice packets with energy ${audio.totalAudioEnergy.toFixed(3)}, ${ciphers[0]}`,
    );
  }
} finally {
  await browser.close();
  server.close();
  node.stop();
}
