declare module "*.css";
/** The repository's folder; the runner of tests sets it. */
declare const __ROOT__: string;
