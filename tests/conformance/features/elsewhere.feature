Feature: What Stands Elsewhere
  A schema, a script or a function that stands elsewhere is fetched when the workflow is
  applied, and is then a part of it.

  Scenario: Hold what is given against a schema from elsewhere
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: far, version: '1.0.0' }
    input: { schema: { format: json, resource: { endpoint: 'https://shop.example/order.json' } } }
    do:
      - never: { set: { x: 1 } }
    """
    And given the workflow input is:
    """yaml
    line: []
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/validation
    status: 400
    title: Invalid value
    detail: 'the input does not fit its schema: it needs the key lines'
    instance: /input/schema
    """

  Scenario: Run a script from elsewhere, after a restart
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: far, version: '1.0.0' }
    input: { schema: { resource: { endpoint: { uri: 'https://shop.example/order.json', authentication: { bearer: { token: t } } } } } }
    do:
      - rest: { wait: PT1M }
      - total:
          run: { script: { language: js, stdin: '${ .lines }', source: { name: total, endpoint: 'https://shop.example/total.js' } } }
          output: { as: '${ { total: fromjson } }' }
    """
    And given the workflow input is:
    """yaml
    lines: [ 3, 4 ]
    """
    When the workflow is started
    And weft is restarted
    Then the workflow should complete with output:
    """yaml
    total: 7
    """

  Scenario: Call a function of a catalog
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: far, version: '1.0.0' }
    use: { catalogs: { shop: { endpoint: 'https://shop.example' } } }
    do:
      - ask: { call: 'ask:1.2.0@shop', with: { colour: red } }
    """
    When the workflow is started
    And weft is restarted
    Then the workflow should complete with output:
    """yaml
    call: 1
    colour: red
    """
    And /asked should have been called 1 times

  Scenario: Call a function by its address, which calls another
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: far, version: '1.0.0' }
    do:
      - twice: { call: 'https://shop.example/twice.yaml', with: { colour: red } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    call: 2
    colour: grey
    """
    And /asked should have been called 2 times

  Scenario: Give a function of a catalog what does not fit
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: far, version: '1.0.0' }
    use: { catalogs: { shop: { endpoint: 'https://shop.example' } } }
    do:
      - try:
          try: [ { ask: { call: 'ask:1.2.0@shop', with: { color: red } } } ]
          catch: { as: why, do: [ { note: { set: { status: '${ $why.status }', at: '${ $why.instance }' } } } ] }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    status: 400
    at: /use/functions/ask:1.2.0@shop
    """
