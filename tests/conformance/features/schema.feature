Feature: Schemas
  What does not fit its schema is an error like any other.

  Scenario: The input of a run fits its schema
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: input, version: '1.0.0' }
    input: { schema: { format: json, document: { type: object, required: [ n ], properties: { n: { type: integer } } } }, from: '${ .n }' }
    do:
      - double: { set: '${ { n: (. * 2) } }' }
    """
    And given the workflow input is:
    """yaml
    n: 3
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    n: 6
    """

  Scenario: The input of a run does not fit its schema
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: input, version: '1.0.0' }
    input: { schema: { document: { properties: { items: { items: { required: [ sku, n ] } } } } } }
    do:
      - call: { call: http, with: { method: post, endpoint: 'https://shop.example/never' } }
    """
    And given the workflow input is:
    """yaml
    items: [ { sku: mug, n: 1 }, { sku: cup } ]
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/validation
    status: 400
    title: Invalid value
    instance: /input/schema
    detail: 'the input does not fit its schema: /items/1 needs the key n'
    """
    And /never should have been called 0 times

  Scenario: The input of a task is checked before input.from, and the error is caught
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: task, version: '1.0.0' }
    do:
      - first: { call: http, with: { method: post, endpoint: 'https://shop.example/first' }, output: { as: { price: '${ "cheap" }' } } }
      - around:
          try:
            - pay:
                input: { schema: { document: { properties: { price: { type: number } } } }, from: '${ .price }' }
                set: { paid: '${ . }' }
          catch:
            errors: { with: { type: https://open-workflow-specification.org/spec/1.0.0/errors/validation, status: 400 } }
            as: why
            do: [ { note: { set: { at: '${ $why.instance }', detail: '${ $why.detail }' } } } ]
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    at: /do/1/around/try/0/pay
    detail: 'the input does not fit its schema: /price must be of type number and is string'
    """
    And /first should have been called 1 times

  Scenario: A task that is skipped is not checked
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: skip, version: '1.0.0' }
    do:
      - none: { if: '${ . != null }', input: { schema: { document: false } }, set: { a: 1 } }
    """
    When the workflow is executed
    Then the workflow should complete
    And none should be skipped

  Scenario: A try does not catch what is wrong with its own input
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: try, version: '1.0.0' }
    do:
      - around:
          input: { schema: { document: { type: object } } }
          try: [ { a: { set: { a: 1 } } } ]
          catch: { do: [ { b: { set: { b: 1 } } } ] }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 400
    instance: /do/0/around
    detail: 'the input does not fit its schema: it must be of type object and is null'
    """

  Scenario: The output of a task is checked after output.as
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: output, version: '1.0.0' }
    do:
      - ask: { call: http, with: { method: post, endpoint: 'https://shop.example/ask' }, output: { as: { id: '${ 7 }' }, schema: { document: { properties: { id: { type: string } } } } } }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 400
    instance: /do/0/ask
    detail: 'the output does not fit its schema: /id must be of type string and is integer'
    """
    And /ask should have been called 1 times

  Scenario: What does not fit the schema of the context is not exported
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: export, version: '1.0.0' }
    do:
      - good: { set: { a: 1 }, export: { as: '${ { a: .a } }', schema: { document: { $ref: '#/$defs/c', $defs: { c: { properties: { a: { maximum: 1 } } } } } } } }
      - sleep: { wait: PT1M }
      - around:
          try: [ { bad: { set: { a: 2 }, export: { as: '${ { a: .a } }', schema: { document: { properties: { a: { maximum: 1 } } } } } } } ]
          catch: { as: why, do: [ { tell: { set: { context: '${ $context }', detail: '${ $why.detail }' } } } ] }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    context: { a: 1 }
    detail: 'the export does not fit its schema: /a must be at most 1'
    """

  Scenario: The output of a run does not fit its schema
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: whole, version: '1.0.0' }
    output: { as: '${ .list }', schema: { document: { type: array, items: { enum: [ red, green ] } } } }
    do:
      - a: { set: { list: [ red, blue ] } }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 400
    instance: /output/schema
    detail: 'the output does not fit its schema: /1 must be one of ["red","green"]'
    """

  Scenario: Each event of a listen is checked
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: events, version: '1.0.0' }
    do:
      - hear:
          listen: { to: { any: [ { with: { type: own.reading } } ], until: '${ length == 2 }' } }
          foreach: { output: { as: .n, schema: { document: { type: integer } } }, export: { as: '${ $context + . }', schema: { document: { maximum: 10 } } } }
    """
    When the workflow is started
    And this event is published:
    """yaml
    { source: 'https://own.example', type: own.reading, data: { n: 4 } }
    """
    And this event is published:
    """yaml
    { source: 'https://own.example', type: own.reading, data: { n: 7 } }
    """
    Then the workflow should fault with error:
    """yaml
    status: 400
    instance: /do/0/hear
    detail: 'the export does not fit its schema: it must be at most 10'
    """
