Feature: Secrets
  A run has marks of them, and calls have them.

  Scenario: Secrets in a call, and marks in the run
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: secret, version: '1.0.0' }
    use: { secrets: [ api-key ] }
    do:
      - keep: { set: { key: '${ $secrets["api-key"] }' } }
      - ask: { call: http, with: { method: post, endpoint: 'https://shop.example/keys', headers: { colour: '${ .key }' }, body: { key: '${ .key }' } }, output: { as: '${ { call, same: (.colour == $input.key), body: (.body | contains($input.key)), marked: ($input.key | startswith("weft-secret-")) } }' } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    { call: 1, same: true, body: true, marked: true }
    """
    And /keys should have been called 1 times

  Scenario: Basic authentication by a secret
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: basic, version: '1.0.0' }
    use: { secrets: [ login ], authentications: { ada: { basic: { use: login } } } }
    do:
      - get: { call: http, with: { method: get, endpoint: { uri: 'https://httpbin.org/basic-auth/ada/lovelace', authentication: { use: ada } } }, output: { as: .authenticated } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    true
    """

  Scenario: Digest authentication by a secret
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: digest, version: '1.0.0' }
    use: { secrets: [ login ] }
    do:
      - get: { call: http, with: { method: get, endpoint: { uri: 'https://shop.example/digest', authentication: { digest: { use: login } } } }, output: { as: .ok } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    true
    """

  Scenario: A bearer token by a secret after a wait
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: bearer, version: '1.0.0' }
    use: { secrets: [ login ] }
    do:
      - nap: { wait: PT1H }
      - get: { call: http, with: { method: get, endpoint: { uri: 'https://shop.example/who', authentication: { bearer: { use: login } } } }, output: { as: '${ .authorization | startswith("Bearer weft-secret-") }' } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    true
    """
