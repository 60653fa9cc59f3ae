// The icons, drawn on a 20 by 20 grid with one stroke. They are decoration: the control that holds one carries the name.
import type { ComponentChildren } from "preact";

function Icon({ children }: { children: ComponentChildren }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" width="20" height="20" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      {children}
    </svg>
  );
}

const path = (d: string) => () => (
  <Icon>
    <path d={d} />
  </Icon>
);

export const HashIcon = path("M7.5 3.5 6 16.5M14 3.5l-1.5 13M3.5 7.5h13M3.5 12.5h13");
export const PlusIcon = path("M10 4v12M4 10h12");
export const CloseIcon = path("m5 5 10 10M15 5 5 15");
export const CheckIcon = path("m4 10.5 4 4 8-9");
export const MenuIcon = path("M3 5.5h14M3 10h14M3 14.5h14");
export const ReplyIcon = path("M8 5 3.5 9.5 8 14M3.5 9.5H12a4.5 4.5 0 0 1 4.5 4.5v1.5");
export const PencilIcon = path("m12.5 4.5 3 3L7 16H4v-3zM11 6l3 3");
export const TrashIcon = path("M4 6h12M8 6V4h4v2M5.5 6l.8 10.5h7.4L14.5 6M8.5 9.500v4M11.5 9.500v4");
export const SendIcon = path("M3.5 10 16.5 4l-4 13-3.5-5.500zM9 11.5 16.5 4");
export const ArrowDownIcon = path("M10 4v12M4.5 10.5 10 16l5.5-5.5");
export const ChevronIcon = path("m5 7.5 5 5 5-5");
export const LogoutIcon = path("M8 4H4.500v12H8M12.5 6.5 16 10l-3.5 3.500M16 10H8");
export const RetryIcon = path("M16 10a6 6 0 1 1-1.8-4.300M16 3.500v3h-3");
export const CheckAllIcon = path("m2.5 10.5 3.5 3.5 7-8M9.5 13.500l.500.5 7-8");

export const CopyIcon = () => (
  <Icon>
    <rect x="7" y="7" width="9.5" height="9.5" rx="2" />
    <path d="M4.5 13H4a.5.5 0 0 1-.5-.5V5A1.5 1.5 0 0 1 5 3.500h7.500a.5.5 0 0 1 .5.5v.5" />
  </Icon>
);
export const UsersIcon = () => (
  <Icon>
    <circle cx="7.5" cy="7" r="2.8" />
    <path d="M2.5 16c0-2.8 2.2-4.5 5-4.500s5 1.7 5 4.500M13 4.500a2.8 2.8 0 0 1 0 5M14.5 12c1.8.6 3 2 3 4" />
  </Icon>
);
export const InviteIcon = () => (
  <Icon>
    <circle cx="8" cy="7" r="2.8" />
    <path d="M3 16c0-2.8 2.2-4.5 5-4.500s5 1.7 5 4.500M15.5 5.500v5M13 8h5" />
  </Icon>
);
export const SmileIcon = () => (
  <Icon>
    <circle cx="10" cy="10" r="6.8" />
    <path d="M7 11.500c1.5 2.3 4.5 2.3 6 0M7.8 8h.01M12.2 8h.01" />
  </Icon>
);
export const SearchIcon = () => (
  <Icon>
    <circle cx="9" cy="9" r="5" />
    <path d="m13 13 3.5 3.5" />
  </Icon>
);
export const DirectIcon = () => (
  <Icon>
    <path d="M3.5 5A1.5 1.5 0 0 1 5 3.500h10A1.5 1.5 0 0 1 16.5 5v7a1.5 1.5 0 0 1-1.5 1.500H9l-4 3v-3A1.5 1.5 0 0 1 3.5 12z" />
    <path d="M7 7.500h6M7 10h3.5" />
  </Icon>
);
export const SettingsIcon = () => (
  <Icon>
    <path d="M3 6h7M14 6h3M3 14h3M10 14h7" />
    <circle cx="12" cy="6" r="2" />
    <circle cx="8" cy="14" r="2" />
  </Icon>
);
export const PaperclipIcon = path("m14.5 9-5.2 5.200a3 3 0 0 1-4.2-4.200L11 4a2 2 0 0 1 2.9 2.900L8 12.700a1 1 0 0 1-1.4-1.400L11.5 6.5");
