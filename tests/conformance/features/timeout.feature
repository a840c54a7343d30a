Feature: Timeouts
  A task and a workflow end when their time is over.

  Scenario: A task times out and is caught
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: task, version: '1.0.0' }
    do:
      - guard:
          try:
            - sleep: { wait: PT1H, timeout: { after: PT5S } }
          catch: { errors: { with: { type: https://open-workflow-specification.org/spec/1.0.0/errors/timeout, status: 408 } }, do: [ { note: { set: { late: '${ $error.instance }' } } } ] }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    late: /do/0/guard/try/0/sleep
    """
    And the workflow should have taken 5s
    And sleep should fault

  Scenario: A call times out
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: call, version: '1.0.0' }
    use: { timeouts: { soon: { after: PT2S } } }
    do:
      - slow: { timeout: soon, call: http, with: { method: get, endpoint: 'https://shop.example/slow/60000' } }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/timeout
    status: 408
    instance: /do/0/slow
    """
    And the workflow should have taken 2s

  Scenario: A workflow times out
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: whole, version: '1.0.0' }
    timeout: { after: PT1M }
    do:
      - outer: { do: [ { sleep: { wait: PT1H } } ] }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/timeout
    status: 408
    """
    And the workflow should have taken 1m

  Scenario: What ends in time is not hurt
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: fine, version: '1.0.0' }
    timeout: { after: PT1M }
    do:
      - sleep: { wait: PT5S, timeout: { after: PT6S } }
      - done: { set: { ok: true } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    ok: true
    """
