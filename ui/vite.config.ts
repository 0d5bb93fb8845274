/// <reference types="vitest/config" />
// Build of the interface: one shell, one chunk per page, nothing inlined, so that a strict content security policy holds.
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
  // A machine that is busy is slow, not wrong.
  test: { testTimeout: 60_000 },
  server: { proxy: { "/api": "http://127.0.0.1:7070" } },
});
