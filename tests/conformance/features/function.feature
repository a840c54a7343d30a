Feature: Functions
  A task under use.functions is called by its name.

  Scenario: A function with arguments, a schema and an output
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: function, version: '1.0.0' }
    use:
      functions:
        ask:
          input: { schema: { document: { required: [ colour ], properties: { colour: { type: string } } } } }
          call: http
          with: { method: post, endpoint: 'https://shop.example/{path}', headers: { colour: '${ .colour }' } }
          output: { as: '${ { call, path, colour } }' }
    do:
      - first: { call: ask, with: { path: one, colour: '${ .colour }' }, export: { as: '${ . }' } }
      - nap: { wait: PT1M }
      - second: { input: { from: '${ { path: "two", colour: .colour } }' }, call: ask, output: { as: '${ [ $context, . ] }' } }
    """
    And given the workflow input is:
    """yaml
    colour: red
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    - { call: 1, path: /one, colour: red }
    - { call: 1, path: /two, colour: red }
    """
    And /one should have been called 1 times
    And /two should have been called 1 times

  Scenario: Arguments that do not fit
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: misfit, version: '1.0.0' }
    use: { functions: { ask: { input: { schema: { document: { properties: { id: { type: integer } } } } }, set: { id: '${ .id }' } } } }
    do:
      - try:
          try: [ { a: { call: ask, with: { id: seven } } } ]
          catch: { as: why, do: [ { note: { set: { status: '${ $why.status }', at: '${ $why.instance }' } } } ] }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    status: 400
    at: /use/functions/ask
    """

  Scenario: Functions call functions, many times, with all that tasks have
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: nested, version: '1.0.0' }
    use:
      functions:
        twice: { set: { n: '${ .n * 2 }' } }
        book:
          do:
            - double: { call: twice, with: { n: '${ .n }' } }
            - again:
                try: [ { post: { call: http, with: { method: post, endpoint: 'https://shop.example/fail/503/1' } } } ]
                catch: { retry: { delay: PT10S } }
            - double2: { call: twice, with: { n: '${ $context + .call }' } }
          export: { as: '${ .n }' }
    do:
      - start: { set: { n: '${ .n }' }, export: { as: '${ .n }' } }
      - loop: { for: { in: '${ [ 1, 2 ] }' }, do: [ { b: { call: book, with: { n: 1 } } } ] }
    """
    And given the workflow input is:
    """yaml
    n: 3
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    n: 26
    """
    And double should run before double2
