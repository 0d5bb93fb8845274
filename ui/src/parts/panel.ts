// The side panel shows one entity over any page but the entity's own. Which one stands in the URL, so it can be linked and
// Back closes it.
import { useCallback } from "react";
import { useLocation, useNavigate } from "react-router";

const PARAM = "panel";
/** Id of the panel's element, where the key `p` leads. */
export const PANEL_ID = "side";

/** What had the focus when the panel opened; it gets it back. */
let opener: HTMLElement | null = null;

/** Focus into the panel, or back to where it was opened from. */
export function switchFocus(): boolean {
  const panel = document.getElementById(PANEL_ID);
  if (!panel) return false;
  if (panel.contains(document.activeElement)) (opener?.isConnected ? opener : document.getElementById("main"))?.focus();
  else {
    if (document.activeElement instanceof HTMLElement) opener = document.activeElement;
    panel.focus();
  }
  return true;
}

export interface PanelState {
  id: string | null;
  /** False on pages that show the entity themselves: there a name leads to its page. */
  here: boolean;
  open: (id: string, replace?: boolean) => void;
  close: () => void;
}

export function usePanel(): PanelState {
  const { pathname, search } = useLocation();
  const navigate = useNavigate();
  const here = !pathname.startsWith("/entities/");
  const open = useCallback(
    (id: string, replace = false) => {
      const active = document.activeElement;
      if (active instanceof HTMLElement && !document.getElementById(PANEL_ID)?.contains(active)) opener = active;
      const next = new URLSearchParams(search);
      next.set(PARAM, id);
      void navigate({ search: next.toString() }, { replace, preventScrollReset: true });
    },
    [navigate, search],
  );
  const close = useCallback(() => {
    const inside = document.getElementById(PANEL_ID)?.contains(document.activeElement);
    const next = new URLSearchParams(search);
    next.delete(PARAM);
    void navigate({ search: next.toString() }, { replace: true, preventScrollReset: true });
    if (inside) (opener?.isConnected ? opener : document.getElementById("main"))?.focus({ preventScroll: true });
  }, [navigate, search]);
  return { id: here ? new URLSearchParams(search).get(PARAM) : null, here, open, close };
}
