Feature: Retry
  Every field of a retry does what it says.

  Scenario: A constant delay, and a policy under use
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: constant, version: '1.0.0' }
    use: { retries: { gentle: { delay: PT2S, backoff: { constant: {} }, limit: { attempt: { count: 5 } } } } }
    do:
      - around:
          try: [ { ask: { call: http, with: { method: get, endpoint: 'https://shop.example/fail/503/3' } } } ]
          catch: { errors: { with: { type: https://open-workflow-specification.org/spec/1.0.0/errors/communication } }, retry: gentle }
      - note: { set: { call: '${ .call }' } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    call: 4
    """
    And the workflow should have taken 6s
    And /fail/503/3 should have been called 4 times

  Scenario: A linear backoff
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: linear, version: '1.0.0' }
    do:
      - around:
          try: [ { ask: { call: http, with: { method: get, endpoint: 'https://shop.example/fail/503/3' } } } ]
          catch: { errors: { with: { type: https://open-workflow-specification.org/spec/1.0.0/errors/communication } }, retry: { delay: PT1S, backoff: { linear: {} } } }
      - note: { set: { call: '${ .call }' } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    call: 4
    """
    And the workflow should have taken 6s

  Scenario: An exponential backoff
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: exponential, version: '1.0.0' }
    do:
      - around:
          try: [ { ask: { call: http, with: { method: get, endpoint: 'https://shop.example/fail/503/3' } } } ]
          catch: { errors: { with: { type: https://open-workflow-specification.org/spec/1.0.0/errors/communication } }, retry: { delay: PT1S, backoff: { exponential: {} } } }
      - note: { set: { call: '${ .call }' } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    call: 4
    """
    And the workflow should have taken 7s

  Scenario: A jitter
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: jitter, version: '1.0.0' }
    do:
      - around:
          try: [ { ask: { call: http, with: { method: get, endpoint: 'https://shop.example/fail/503/1' } } } ]
          catch: { errors: { with: { type: https://open-workflow-specification.org/spec/1.0.0/errors/communication } }, retry: { delay: PT1S, jitter: { from: PT1S, to: PT3S } } }
      - note: { set: { call: '${ .call }' } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    call: 2
    """
    And the workflow should have taken from 2s to 4s

  Scenario: No more attempts than allowed
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: count, version: '1.0.0' }
    do:
      - around:
          try: [ { ask: { call: http, with: { method: get, endpoint: 'https://shop.example/fail/503/9' } } } ]
          catch: { errors: { with: { type: https://open-workflow-specification.org/spec/1.0.0/errors/communication } }, retry: { delay: PT1S, limit: { attempt: { count: 2 } } } }
      - note: { set: { call: '${ .call }' } }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/communication
    status: 503
    instance: /do/0/around/try/0/ask
    """
    And /fail/503/9 should have been called 3 times

  Scenario: No longer than allowed
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: duration, version: '1.0.0' }
    do:
      - around:
          try: [ { ask: { call: http, with: { method: get, endpoint: 'https://shop.example/fail/503/9' } } } ]
          catch: { errors: { with: { type: https://open-workflow-specification.org/spec/1.0.0/errors/communication } }, retry: { delay: PT4S, limit: { duration: PT10S } } }
      - note: { set: { call: '${ .call }' } }
    """
    When the workflow is executed
    Then the workflow should fault
    And /fail/503/9 should have been called 3 times

  Scenario: An attempt has its own time
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: attempt, version: '1.0.0' }
    do:
      - around:
          try: [ { slow: { call: http, with: { method: get, endpoint: 'https://shop.example/slow/60000' } } } ]
          catch: { errors: { with: { status: 408 } }, retry: { delay: PT1S, limit: { attempt: { count: 1, duration: PT2S } } } }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 408
    """
    And the workflow should have taken 5s

  Scenario: Retry only when
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: when, version: '1.0.0' }
    do:
      - around:
          try: [ { ask: { call: http, with: { method: get, endpoint: 'https://shop.example/fail/404/3' } } } ]
          catch: { errors: { with: { type: https://open-workflow-specification.org/spec/1.0.0/errors/communication } }, retry: { when: '${ $error.status == 503 }', delay: PT1S } }
      - note: { set: { call: '${ .call }' } }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 404
    """
    And /fail/404/3 should have been called 1 times

  Scenario: Do not retry when
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: unless, version: '1.0.0' }
    do:
      - around:
          try: [ { ask: { call: http, with: { method: get, endpoint: 'https://shop.example/fail/409/3' } } } ]
          catch: { errors: { with: { type: https://open-workflow-specification.org/spec/1.0.0/errors/communication } }, retry: { exceptWhen: '${ $error.status == 409 }', delay: PT1S } }
      - note: { set: { call: '${ .call }' } }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 409
    """
    And /fail/409/3 should have been called 1 times

  Scenario: A restart in the middle of the delay
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: restart, version: '1.0.0' }
    do:
      - around:
          try: [ { ask: { call: http, with: { method: get, endpoint: 'https://shop.example/fail/503/1' } } } ]
          catch: { errors: { with: { type: https://open-workflow-specification.org/spec/1.0.0/errors/communication } }, retry: { delay: PT1M } }
      - note: { set: { call: '${ .call }' } }
    """
    When the workflow is started
    And 30s passes
    And weft is restarted
    Then the workflow should complete with output:
    """yaml
    call: 2
    """
    And the workflow should have taken 1m
    And /fail/503/1 should have been called 2 times
