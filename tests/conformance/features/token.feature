Feature: Tokens
  Calls with a token that the host fetches. login.example gives tokens of five
  minutes; at /private/revoked one that was used before is taken no more.

  Scenario: Client credentials under use, in two calls
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: oauth, version: '1.0.0' }
    use: { authentications: { shop: { oauth2: { authority: https://login.example/realm, endpoints: { token: /token }, grant: client_credentials, client: { id: '${ .client }', secret: s3cr3t, authentication: client_secret_basic } } } } }
    do:
      - one: { call: http, with: { method: get, endpoint: { uri: https://shop.example/private/one, authentication: { use: shop } } }, output: { as: '{ client: $input.client, one: .path }' } }
      - two: { call: http, with: { method: post, output: response, endpoint: { uri: https://shop.example/private/two, authentication: shop } }, output: { as: '{ one: $input.one, two: .content.path, shown: .request.headers }' } }
    """
    And given the workflow input is:
    """yaml
    client: weft
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    one: /private/one
    two: /private/two
    shown: {}
    """

  Scenario: OpenID Connect, with an operation of OpenAPI
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: oidc, version: '1.0.0' }
    do:
      - add:
          call: openapi
          with:
            document: { endpoint: 'https://shop.example/openapi.json' }
            operationId: addPrivate
            authentication: { oidc: { authority: https://login.example/realm, grant: client_credentials, client: { id: weft, secret: s3cr3t } } }
          output: { as: .path }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    /v1/private/items
    """

  Scenario: Tokens that were revoked, and that have expired
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: revoked, version: '1.0.0' }
    use: { authentications: { shop: { oauth2: { authority: https://login.example/realm, endpoints: { token: /token }, grant: client_credentials, client: { id: weft, secret: s3cr3t } } } } }
    do:
      - first: { call: http, with: { method: get, endpoint: { uri: https://shop.example/private/first, authentication: { use: shop } } } }
      - revoked: { call: http, with: { method: get, endpoint: { uri: https://shop.example/private/revoked, authentication: { use: shop } } } }
      - pause: { wait: PT6M }
      - last: { call: http, with: { method: get, endpoint: { uri: https://shop.example/private/last, authentication: { use: shop } } }, output: { as: .path } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    /private/last
    """

  Scenario: A client that the authority does not know
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: unknown, version: '1.0.0' }
    do:
      - get: { call: http, with: { method: get, endpoint: { uri: https://shop.example/private/x, authentication: { oidc: { authority: https://login.example/realm, grant: client_credentials, client: { id: weft, secret: wrong } } } } } }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/authentication
    status: 401
    instance: /do/0/get
    """

  Scenario: A token by a policy that is a secret
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: policy, version: '1.0.0' }
    use: { secrets: [ client ] }
    do:
      - get: { call: http, with: { method: get, endpoint: { uri: https://shop.example/private/x, authentication: { oidc: { use: client } } } } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    path: /private/x
    """

  Scenario: A secret that is no policy
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: policy, version: '1.0.0' }
    use: { secrets: [ login ] }
    do:
      - get: { call: http, with: { method: get, endpoint: { uri: https://shop.example/private/x, authentication: { oauth2: { use: login } } } } }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/authorization
    status: 403
    title: Permission denied
    detail: 'secret login: token is wrong, or no key of the policy; it must be a JSON object with the keys of oauth2, all of them fixed'
    instance: /do/0/get
    """
