// The name of the place, with its mark.
export function Mark() {
  return (
    <svg class="flux-mark" viewBox="0 0 32 32" width="32" height="32" aria-hidden="true">
      <rect width="32" height="32" rx="8" class="flux-mark-ground" />
      <path d="M7 12.5c3-3 6-3 9 0s6 3 9 0M7 19.5c3-3 6-3 9 0s6 3 9 0" fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round" />
    </svg>
  );
}

export function Wordmark() {
  return (
    <p class="wordmark">
      <Mark /> Flux
    </p>
  );
}
