Feature: Calls of our own
  Who calls, and what a document says of the call.

  Scenario: Bearer authentication under use
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: bearer, version: '1.0.0' }
    use: { authentications: { key: { bearer: { token: '${ .token }' } } } }
    do:
      - get: { call: http, with: { method: get, output: response, endpoint: { uri: 'https://shop.example/who', authentication: { use: key } } }, output: { as: { sent: '${ .content.authorization }', shown: '${ .request.headers }' } } }
    """
    And given the workflow input is:
    """yaml
    token: t0k3n
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    sent: Bearer t0k3n
    shown: {}
    """

  Scenario: Digest authentication
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: digest, version: '1.0.0' }
    do:
      - get: { call: http, with: { method: get, endpoint: { uri: 'https://shop.example/digest', authentication: { digest: { username: ada, password: lovelace } } } }, output: { as: .ok } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    true
    """

  Scenario: Digest authentication with a wrong password
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: digest, version: '1.0.0' }
    do:
      - get: { call: http, with: { method: get, endpoint: { uri: 'https://shop.example/digest', authentication: { digest: { username: ada, password: byron } } } }, output: { as: .ok } }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 401
    """

  Scenario: An operation of OpenAPI 3 with everything
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: openapi, version: '1.0.0' }
    do:
      - add:
          call: openapi
          with:
            document: { endpoint: 'https://shop.example/openapi.json' }
            operationId: addItem
            parameters: { shelf: '${ .shelf }', colour: red, tag: [ a, b ], body: { sku: mug } }
            authentication: { bearer: { token: x } }
          output: { as: 'del(.call)' }
    """
    And given the workflow input is:
    """yaml
    shelf: top left
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    method: POST
    path: /v1/shelves/top left/items
    query: tag=a&tag=b
    authorization: Bearer x
    colour: red
    body: '{"sku":"mug"}'
    """

  Scenario: An operation that the document does not have
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: none, version: '1.0.0' }
    do:
      - add: { call: openapi, with: { document: { endpoint: 'https://shop.example/openapi.json' }, operationId: addItems } }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/validation
    status: 400
    instance: /do/0/add
    """

  Scenario: A document that is not there
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: gone, version: '1.0.0' }
    do:
      - add: { call: openapi, with: { document: { endpoint: 'https://shop.example/fail' }, operationId: addItem } }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/communication
    status: 404
    """
