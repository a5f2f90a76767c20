// A real OpenID provider with two clients of its own and two resource servers, on a loopback port that it prints.
// Started by tests/unit/core/identity/test_real_provider.py from the folder where install.sh put oidc-provider.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { generateKeyPairSync } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const require = createRequire(process.cwd() + '/');
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')).href);

const jwk = (type, options, alg, kid) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), use: 'sig', alg, kid,
});
const keys = [jwk('ec', { namedCurve: 'P-256' }, 'ES256', 'es'), jwk('rsa', { modulusLength: 2048 }, 'RS256', 'rs')];
const audiences = { 'https://guardhouse.example/': 'ES256', 'https://other.example/': 'ES256', 'https://rsa.guardhouse.example/': 'RS256' };
const client = (id) => ({
  client_id: id, client_secret: `${id}-secret`, grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
});

const server = createServer();
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [client('client-a'), client('client-b')],
    jwks: { keys },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'https://guardhouse.example/',
        getResourceServerInfo: (_, resource) => ({
          scope: 'api', audience: resource, accessTokenTTL: 600, accessTokenFormat: 'jwt', jwt: { sign: { alg: audiences[resource] } },
        }),
      },
    },
  });
  server.on('request', provider.callback());
  console.log(issuer);
});
