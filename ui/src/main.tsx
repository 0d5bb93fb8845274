// Start of the interface: language, theme, live stream, routes. Each page is its own chunk; when nothing else is to be done all
// are read, so that a page opens while the hub is away.
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { createBrowserRouter, RouterProvider } from "react-router";
import "./fonts.css";
import "./theme.css";
import "./frame.css";
import "./parts/parts.css";
import { ApiError } from "./api/client";
import { startStream } from "./api/stream";
import { Frame } from "./frame";
import { startLanguage } from "./i18n";
import { NotFound, PageError } from "./notfound";
import { page, readAll } from "./pages";
import { startTheme } from "./theme";

const Now = page(() => import("./now/Now"));
const Incidents = page(() => import("./incident/Incidents"));
const Incident = page(() => import("./incident/Incident"));
const MapPage = page(() => import("./map/MapPage"));
const Entities = page(() => import("./entity/Entities"));
const Entity = page(() => import("./entity/Entity"));
const Explore = page(() => import("./explore/Explore"));
const Agent = page(() => import("./agent/Agent"));

/** What took too long is not asked again at once. */
const isWorthAnother = (error: Error) =>
  error instanceof ApiError && error.code !== "timeout" && (error.status === 0 || error.status >= 500);

// The hub may stand on this host: whether there is an internet says nothing of it.
const client = new QueryClient({
  defaultOptions: {
    queries: {
      networkMode: "always",
      staleTime: 4000,
      refetchOnWindowFocus: false,
      retry: (count, error) => count < 1 && isWorthAnother(error),
      retryDelay: 800,
    },
    mutations: { networkMode: "always" },
  },
});

const router = createBrowserRouter([
  {
    element: <Frame />,
    errorElement: <PageError />,
    children: [
      {
        errorElement: <PageError />,
        children: [
          { path: "/", element: <Now /> },
          { path: "/incidents", element: <Incidents /> },
          { path: "/incidents/:id", element: <Incident /> },
          { path: "/map", element: <MapPage /> },
          { path: "/entities", element: <Entities /> },
          { path: "/entities/:id", element: <Entity /> },
          { path: "/explore", element: <Explore /> },
          { path: "/agent", element: <Agent /> },
          { path: "*", element: <NotFound /> },
        ],
      },
    ],
  },
]);

startLanguage();
startTheme();
startStream(client);
readAll();

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <QueryClientProvider client={client}>
      <RouterProvider router={router} />
    </QueryClientProvider>
  </StrictMode>,
);
