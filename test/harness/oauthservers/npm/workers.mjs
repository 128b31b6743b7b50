// The module 'cloudflare:workers' is there in Cloudflare's runtime only. What is
// run here needs nothing of it but a base class.
const source = `
  export class WorkerEntrypoint { constructor(ctx, env) { this.ctx = ctx; this.env = env; } }
  export const env = {};
`;

export async function resolve(specifier, context, next) {
  if (specifier !== 'cloudflare:workers') return next(specifier, context);
  return { url: `data:text/javascript,${encodeURIComponent(source)}`, shortCircuit: true };
}
