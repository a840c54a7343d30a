Feature: Wait Task
  A run waits for as long as it says, whether weft is up or not.

  Scenario: Wait for an hour through a restart
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: hour, version: '1.0.0' }
    do:
      - sleep: { wait: { hours: 1 } }
      - done: { set: { slept: true } }
    """
    When the workflow is started
    And 30m passes
    And weft is restarted
    Then the workflow should complete with output:
    """yaml
    slept: true
    """
    And the workflow should have taken 1h

  Scenario: Wait for a duration of the input
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: long, version: '1.0.0' }
    do:
      - sleep: { wait: '${ .delay }' }
    """
    And given the workflow input is:
    """yaml
    delay: PT90S
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    delay: PT90S
    """
    And the workflow should have taken 90s

  Scenario: Cancel a run that waits
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: cancel, version: '1.0.0' }
    do:
      - sleep: { wait: PT1H }
    """
    When the workflow is started
    And the run is cancelled
    Then the workflow should cancel
    And sleep should cancel
