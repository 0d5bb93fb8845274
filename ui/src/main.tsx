// Start of the interface: language, theme, live stream, routes. Each page is its own chunk.
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { lazy, StrictMode } from "react";
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
import { startTheme } from "./theme";

const Now = lazy(() => import("./now/Now"));
const Incidents = lazy(() => import("./incident/Incidents"));
const Incident = lazy(() => import("./incident/Incident"));
const MapPage = lazy(() => import("./map/MapPage"));
const Entities = lazy(() => import("./entity/Entities"));
const Entity = lazy(() => import("./entity/Entity"));
const Explore = lazy(() => import("./explore/Explore"));
const Agent = lazy(() => import("./agent/Agent"));

const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 4000,
      refetchOnWindowFocus: false,
      retry: (count, error) => count < 1 && error instanceof ApiError && (error.status === 0 || error.status >= 500),
      retryDelay: 800,
    },
  },
});

const router = createBrowserRouter([
  {
    element: <Frame />,
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

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <QueryClientProvider client={client}>
      <RouterProvider router={router} />
    </QueryClientProvider>
  </StrictMode>,
);
