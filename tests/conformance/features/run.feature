Feature: Run Task
  A workflow runs another, and waits for it or not.

  Scenario: Await the other workflow
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: child, version: '1.0.0' }
    do:
      - sleep: { wait: PT1M }
      - double: { set: { n: '${ .n * 2 }' } }
    """
    And another workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: parent, version: '1.0.0' }
    do:
      - inner: { run: { workflow: { namespace: own, name: child, version: '1.0.0', input: { n: '${ .n + 1 }' } } } }
      - note: { set: { got: '${ .n }' } }
    """
    And given the workflow input is:
    """yaml
    n: 1
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    got: 4
    """
    And the workflow should have taken 1m
    And there should be 1 run of child

  Scenario: Do not await the other workflow
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: child, version: '1.0.0' }
    do:
      - sleep: { wait: PT1M }
      - double: { set: { n: '${ .n * 2 }' } }
    """
    And another workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: parent, version: '1.0.0' }
    do:
      - inner: { run: { await: false, workflow: { namespace: own, name: child, version: '1.0.0' } } }
    """
    And given the workflow input is:
    """yaml
    n: 5
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    n: 5
    """
    And the workflow should have taken 0s
    And there should be 1 run of child
    Then the workflow should complete with output:
    """yaml
    n: 10
    """

  Scenario: The fault of the other workflow is that of the step
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: bad, version: '1.0.0' }
    do:
      - no: { raise: { error: { type: https://shop.example/errors/no, status: 422, title: No } } }
    """
    And another workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: parent, version: '1.0.0' }
    do:
      - inner:
          run: { workflow: { namespace: own, name: bad, version: '1.0.0' } }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://shop.example/errors/no
    status: 422
    title: No
    instance: /do/0/inner
    """

  Scenario: A timeout cancels the other workflow
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: child, version: '1.0.0' }
    do:
      - sleep: { wait: PT1M }
      - double: { set: { n: '${ .n * 2 }' } }
    """
    And another workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: parent, version: '1.0.0' }
    do:
      - inner: { timeout: { after: PT10S }, run: { workflow: { namespace: own, name: child, version: '1.0.0' } } }
    """
    And given the workflow input is:
    """yaml
    n: 1
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/timeout
    status: 408
    instance: /do/0/inner
    """
    And there should be 1 run of child
    And the workflow should cancel
