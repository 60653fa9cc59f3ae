// A form of a few fields with one button. It shows the failure of its last try above the button, and waits while sending.
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "../../api/rest";
import { sentenceOf } from "../../store/notices";

interface FormProps {
  action: string;
  /** Said on the button while waiting. */
  waiting: string;
  onSubmit: () => Promise<void>;
  children: ComponentChildren;
  isDisabled?: boolean;
}

export function Form({ action, waiting, onSubmit, children, isDisabled = false }: FormProps) {
  const [failure, setFailure] = useState<{ text: string; requestId: string | null } | null>(null);
  const [isWaiting, setWaiting] = useState(false);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (isWaiting) return;
    setWaiting(true);
    setFailure(null);
    try {
      await onSubmit();
    } catch (error) {
      setFailure({ text: sentenceOf(error), requestId: error instanceof ApiError ? error.requestId : null });
    }
    setWaiting(false);
  };
  return (
    <form class="form" onSubmit={(event) => void submit(event)}>
      {children}
      <div role="alert">
        {failure && (
          <p class="form-failure">
            {failure.text}
            {failure.requestId && <small>Request {failure.requestId}</small>}
          </p>
        )}
      </div>
      <button type="submit" class="button button-accent button-wide" disabled={isWaiting || isDisabled}>
        {isWaiting ? waiting : action}
      </button>
    </form>
  );
}

interface FieldProps {
  label: string;
  value: string;
  onInput: (value: string) => void;
  hint?: string;
  type?: "text" | "password";
  autocomplete?: string;
  placeholder?: string;
  maxLength?: number;
  isFirst?: boolean;
  isOptional?: boolean;
}

export function Field({ label, value, onInput, hint, type = "text", autocomplete = "off", placeholder, maxLength, isFirst, isOptional }: FieldProps) {
  const input = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => {
    if (isFirst) input.current?.focus();
  }, []);
  const shared = {
    ref: input,
    value,
    autoComplete: autocomplete,
    placeholder,
    maxLength,
    autofocus: isFirst ?? false,
    required: !isOptional,
    spellcheck: false,
    autoCapitalize: "off" as const,
    onInput: (event: preact.TargetedEvent<HTMLInputElement>) => onInput(event.currentTarget.value),
  };
  return (
    <label class="field">
      <span>
        {label}
        {isOptional && <em> optional</em>}
      </span>
      {type === "password" ? <input type="password" {...shared} /> : <input type="text" {...shared} />}
      {hint && <small>{hint}</small>}
    </label>
  );
}
