Feature: Extensions
  What runs before and after the tasks of a kind.

  Scenario: A log before and after each call, which changes nothing
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: logged, version: '1.0.0' }
    use:
      extensions:
        - log:
            extend: call
            before: [ { start: { call: http, with: { method: post, endpoint: https://shop.example/log/before, body: '${ $task.reference }' } } } ]
            after: [ { stop: { call: http, with: { method: post, endpoint: https://shop.example/log/after, body: '${ $task.reference }' } } } ]
    do:
      - one: { call: http, with: { method: get, endpoint: https://shop.example/one }, output: { as: .path } }
      - two: { set: { one: '${ . }' } }
      - three: { call: http, with: { method: get, endpoint: https://shop.example/three }, output: { as: '{ path, before: $input }' } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    path: /three
    before: { one: /one }
    """
    And /log/before should have been called 2 times
    And /log/after should have been called 2 times
    And /one should have been called 1 times

  Scenario: A service that is mocked
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: mocked, version: '1.0.0' }
    use:
      extensions:
        - mock:
            extend: call
            when: '$task.call == "http" and ($task.with.endpoint.uri | startswith("https://mocked.example"))'
            before:
              - response: { set: { statusCode: 200, content: { foo: bar } }, then: exit }
    do:
      - mocked: { call: http, with: { method: get, endpoint: { uri: https://mocked.example/x }, output: response }, output: { as: .content } }
      - real: { call: http, with: { method: get, endpoint: { uri: https://shop.example/real } }, output: { as: '{ mocked: $input, real: .path }' } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    mocked: { foo: bar }
    real: /real
    """

  Scenario: Waiting before, exiting after, on a task that is tried again
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: slow, version: '1.0.0' }
    use:
      extensions:
        - gently: { extend: call, before: [ { pause: { wait: PT10S } } ] }
        - shape: { extend: try, after: [ { done: { set: { tried: '${ .call }' }, then: exit } } ] }
    do:
      - again:
          try: [ { get: { call: http, with: { method: get, endpoint: https://shop.example/fail/503/1 } } } ]
          catch: { retry: { limit: { attempt: { count: 2 } } } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    tried: 2
    """
    And the workflow should have taken from 20s to 25s

  Scenario: An extension that fails says where
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: refuses, version: '1.0.0' }
    use:
      extensions:
        - guard: { extend: all, when: .forbidden, before: [ { stop: { raise: { error: { type: https://shop.example/forbidden, status: 403 } } } } ] }
    do:
      - one: { set: { forbidden: true } }
      - two: { set: { done: true } }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://shop.example/forbidden
    status: 403
    instance: /use/extensions/0/guard/before/0/stop
    """
