// A dialog on the browser's own <dialog>: it keeps the focus inside, closes on Escape and gives the focus back.
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { CloseIcon } from "../icons";
import { overlay } from "../layout";

export function closeOverlay(): void {
  overlay.value = null;
}

interface Props {
  title: string;
  children: ComponentChildren;
  class?: string;
  /** Hides the visible heading; the title still names the dialog. */
  isBare?: boolean;
}

export function Dialog({ title, children, class: className = "", isBare = false }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const element = dialog.current;
    const before = document.activeElement;
    element?.showModal();
    return () => {
      element?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      class={`dialog ${className}`}
      aria-label={title}
      onCancel={(event) => {
        event.preventDefault();
        closeOverlay();
      }}
      onPointerDown={(event) => {
        if (event.target === dialog.current) closeOverlay();
      }}
    >
      <div class="dialog-box">
        {!isBare && (
          <header class="dialog-head">
            <h2>{title}</h2>
            <button type="button" class="icon-button" aria-label="Close" onClick={closeOverlay}>
              <CloseIcon />
            </button>
          </header>
        )}
        {children}
      </div>
    </dialog>
  );
}
