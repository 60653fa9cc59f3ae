// Short sentences at the lower edge.
import { dismiss, notices } from "../store/notices";
import { CloseIcon } from "./icons";

export function Notices() {
  return (
    <div class="notices" aria-live="polite">
      {notices.value.map((notice) => (
        <div key={notice.id} class={`notice notice-${notice.tone}`}>
          <p>
            {notice.text}
            {notice.requestId && <small>Request {notice.requestId}</small>}
          </p>
          <button type="button" class="icon-button icon-small" aria-label="Dismiss" onClick={() => dismiss(notice.id)}>
            <CloseIcon />
          </button>
        </div>
      ))}
    </div>
  );
}
