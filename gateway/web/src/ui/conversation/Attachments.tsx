// What hangs on a message besides its text. Pictures reserve their place before they load.
import type { Attachment, Embed } from "../../api/types";
import { Markdown, type MentionResolver } from "../../markdown/Markdown";
import { PaperclipIcon } from "../icons";

/** Pictures are shown within this box, in pixels. */
const WIDTH_MAX = 480;
const HEIGHT_MAX = 320;

export function fit(width: number, height: number): { width: number; height: number } {
  const scale = Math.min(1, WIDTH_MAX / width, HEIGHT_MAX / height);
  return { width: Math.round(width * scale), height: Math.round(height * scale) };
}

export function formatBytes(bytes: number): string {
  if (bytes < 1_000) return `${bytes} B`;
  if (bytes < 1_000_000) return `${(bytes / 1_000).toFixed(1)} kB`;
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}

export function Attachments({ list }: { list: readonly Attachment[] }) {
  if (list.length === 0) return null;
  return (
    <div class="attachments">
      {list.map((one) =>
        one.content_type?.startsWith("image/") ? (
          <Picture key={one.id} url={one.url} name={one.filename} width={one.width ?? WIDTH_MAX} height={one.height ?? HEIGHT_MAX} />
        ) : (
          <a key={one.id} class="file" href={one.url} target="_blank" rel="noopener noreferrer">
            <PaperclipIcon />
            <span>
              <strong>{one.filename}</strong>
              <small>{formatBytes(one.size)}</small>
            </span>
          </a>
        ),
      )}
    </div>
  );
}

function Picture({ url, name, width, height }: { url: string; name: string; width: number; height: number }) {
  const size = fit(width, height);
  return (
    <a class="picture" href={url} target="_blank" rel="noopener noreferrer">
      <img src={url} alt={name} loading="lazy" decoding="async" width={size.width} height={size.height} />
    </a>
  );
}

export function Embeds({ list, mentions }: { list: readonly Embed[]; mentions: MentionResolver }) {
  return (
    <>
      {list.map((embed, index) => (
        <article class="embed" key={index} style={embed.color ? { borderLeftColor: `#${embed.color.toString(16).padStart(6, "0")}` } : {}}>
          {embed.author && <p class="embed-small">{embed.author.name}</p>}
          {embed.title && <p class="embed-title">{isWeb(embed.url) ? <a href={embed.url} target="_blank" rel="noopener noreferrer">{embed.title}</a> : embed.title}</p>}
          {embed.description && <Markdown text={embed.description} mentions={mentions} />}
          {embed.fields && embed.fields.length > 0 && (
            <dl>
              {embed.fields.map((field, at) => (
                <div key={at} class={field.inline ? "embed-inline" : ""}>
                  <dt>{field.name}</dt>
                  <dd>
                    <Markdown text={field.value} mentions={mentions} />
                  </dd>
                </div>
              ))}
            </dl>
          )}
          {embed.image && isWeb(embed.image.url) && <Picture url={embed.image.url} name="" width={embed.image.width ?? WIDTH_MAX} height={embed.image.height ?? HEIGHT_MAX} />}
          {embed.footer && <p class="embed-small">{embed.footer.text}</p>}
        </article>
      ))}
    </>
  );
}

function isWeb(url: string | undefined): url is string {
  return url !== undefined && /^https?:\/\//i.test(url);
}
