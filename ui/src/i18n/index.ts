// Two languages through one dictionary. Names, ids, metrics and units stay as they are.
import i18next from "i18next";
import { useCallback } from "react";
import { initReactI18next, useTranslation } from "react-i18next";
import type { Text } from "../api/types";
import { remember, remembered } from "../storage";
import { dictionary } from "./dictionary";

export type Key = keyof typeof dictionary;
export type Lang = "en" | "zh";
export type Translate = (key: Key, values?: Record<string, string | number>) => string;

const STORED = "gala.lang";

function resources(index: 0 | 1): Record<string, string> {
  return Object.fromEntries(Object.entries(dictionary).map(([key, pair]) => [key, pair[index]]));
}

function initial(): Lang {
  const asked = new URLSearchParams(location.search).get("lang") ?? remembered(STORED);
  if (asked === "en" || asked === "zh") return asked;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export function startLanguage(): void {
  const lang = initial();
  document.documentElement.lang = lang;
  void i18next.use(initReactI18next).init({
    lng: lang,
    fallbackLng: "en",
    keySeparator: false,
    nsSeparator: false,
    initAsync: false,
    interpolation: { escapeValue: false },
    resources: { en: { translation: resources(0) }, zh: { translation: resources(1) } },
  });
}

export function setLanguage(lang: Lang): void {
  remember(STORED, lang);
  document.documentElement.lang = lang;
  void i18next.changeLanguage(lang);
}

export function useT(): Translate {
  const { t } = useTranslation();
  return t as unknown as Translate;
}

export function useLang(): Lang {
  return useTranslation().i18n.language as Lang;
}

/** The text of an answer in the language shown. */
export function useText(): (text: Text | string | null | undefined) => string {
  const lang = useLang();
  return useCallback((text) => (typeof text === "string" ? text : text ? text[lang] || text.en : ""), [lang]);
}
