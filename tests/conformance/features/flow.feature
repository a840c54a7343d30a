Feature: Flow of our own
  Where a task leads, and what a catch takes.

  Scenario: Lead to a named task, back and forth
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: named, version: '1.0.0' }
    do:
      - start: { set: { n: 0 }, then: count }
      - never: { set: { never: true } }
      - count: { set: { n: '${ .n + 1 }' } }
      - nap: { wait: PT1S }
      - look: { switch: [ { more: { when: '${ .n < 3 }', then: count } }, { enough: { then: last } } ] }
      - skipped: { set: { n: 100 } }
      - last: { set: { n: '${ .n }' } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    n: 3
    """
    And the workflow should have taken 3s
    And last should run last

  Scenario: Leave a loop's round, and the run from within a loop
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: rounds, version: '1.0.0' }
    do:
      - loop:
          for: { each: n, in: '${ [1, 2, 3, 4] }' }
          do:
            - odd: { if: '${ $n % 2 == 1 }', set: { sum: '${ (.sum? // 0) + $n }' }, then: exit }
            - stop: { if: '${ $n == 4 }', set: { sum: '${ .sum }', at: '${ $n }' }, then: end }
      - never: { set: { never: true } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    { sum: 4, at: 4 }
    """

  Scenario: A catch leads elsewhere
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: elsewhere, version: '1.0.0' }
    do:
      - guard:
          try: [ { down: { raise: { error: { type: https://shop.example/errors/down, status: 500 } } } } ]
          catch: { do: [ { note: { set: { caught: true } } } ], then: last }
      - never: { set: { never: true } }
      - last: { set: { caught: '${ .caught }', last: true } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    { caught: true, last: true }
    """

  Scenario: Catch only when, and except when
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: when, version: '1.0.0' }
    do:
      - outer:
          try:
            - inner:
                try: [ { ask: { call: http, with: { method: post, endpoint: 'https://shop.example/fail/409/1' } } } ]
                catch: { as: e, when: '${ $e.status == 503 }', do: [ { wrong: { set: { wrong: true } } } ] }
          catch: { as: e, exceptWhen: '${ $e.status == 503 }', do: [ { right: { set: { status: '${ $e.status }' } } } ] }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    status: 409
    """
    And right should run last

  Scenario: A timeout by its name, for a task and for the whole
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: names, version: '1.0.0' }
    use: { timeouts: { soon: { after: PT5S }, late: { after: PT8S } } }
    timeout: late
    do:
      - guard:
          try: [ { sleep: { timeout: soon, wait: PT1H } } ]
          catch: { errors: { with: { status: 408 } }, do: [ { note: { set: { late: true } } } ] }
      - again: { wait: PT1H }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/timeout
    status: 408
    """
    And the workflow should have taken 8s
    And note should complete

  Scenario: A timeout around tries ends them all
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: around, version: '1.0.0' }
    do:
      - guard:
          timeout: { after: PT10S }
          try: [ { ask: { call: http, with: { method: post, endpoint: 'https://shop.example/fail/503/99' } } } ]
          catch: { errors: { with: { status: 503 } }, retry: { delay: PT4S, backoff: { constant: {} } } }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/timeout
    status: 408
    instance: /do/0/guard
    """
    And the workflow should have taken 10s
    And /fail/503/99 should have been called 3 times

  Scenario: Compensate for each item that was done, the last first
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: undo, version: '1.0.0' }
    do:
      - all:
          try:
            - loop:
                for: { each: item, in: '${ [ "a", "b", "c" ] }' }
                do:
                  - take: { call: http, with: { method: post, endpoint: '${ "https://shop.example/" + (if $item == "c" then "fail/409/9" else "take" end) }' } }
                  - keep: { set: { ok: true }, export: { as: '${ { done: [$item] + ($context.done? // []) } }' } }
          catch:
            do:
              - back:
                  for: { each: item, in: '${ $context.done }' }
                  do:
                    - undo: { call: http, with: { method: post, endpoint: 'https://shop.example/undo', body: { item: '${ $item }' } } }
              - note: { set: { undone: '${ $context.done }' } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    undone: [ b, a ]
    """
    And /take should have been called 2 times
    And /undo should have been called 2 times

  Scenario: Basic authentication under use
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: basic, version: '1.0.0' }
    use: { authentications: { ada: { basic: { username: ada, password: lovelace } } } }
    do:
      - ask: { call: http, with: { method: get, endpoint: { uri: 'https://shop.example/basic', authentication: { use: ada } } } }
      - note: { set: { authorization: '${ .authorization }' } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    authorization: Basic YWRhOmxvdmVsYWNl
    """
