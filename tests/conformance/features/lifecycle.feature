Feature: Lifecycle events
  Each change in the life of a run and its tasks is told once.

  Scenario: A run that completes
    Given lifecycle events of tasks are published
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: completes, version: '1.0.0' }
    do:
      - one: { set: { n: 1 } }
      - no: { if: '${ false }', set: { n: 2 } }
      - nap: { wait: PT1S }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    n: 1
    """
    And 1 event of type io.serverlessworkflow.workflow.started.v1 should have been published
    And 1 event of type io.serverlessworkflow.workflow.completed.v1 should have been published
    And 0 events of type io.serverlessworkflow.workflow.faulted.v1 should have been published
    And 2 events of type io.serverlessworkflow.task.created.v1 should have been published
    And 2 events of type io.serverlessworkflow.task.started.v1 should have been published
    And 2 events of type io.serverlessworkflow.task.completed.v1 should have been published

  Scenario: A run that faults after a retry
    Given lifecycle events of tasks are published
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: faults, version: '1.0.0' }
    do:
      - around:
          try: [ { ask: { call: http, with: { method: post, endpoint: 'https://shop.example/fail/503/9' } } } ]
          catch: { errors: { with: { status: 503 } }, retry: { delay: PT1S, limit: { attempt: { count: 2 } } } }
    """
    When the workflow is executed
    Then the workflow should fault
    And 1 event of type io.serverlessworkflow.workflow.started.v1 should have been published
    And 1 event of type io.serverlessworkflow.workflow.faulted.v1 should have been published
    And 0 events of type io.serverlessworkflow.workflow.completed.v1 should have been published
    And /fail/503/9 should have been called 3 times
    And 2 events of type io.serverlessworkflow.task.retried.v1 should have been published

  Scenario: A listen is a correlation, and a cancel is told
    Given lifecycle events of workflows are published
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: hears, version: '1.0.0' }
    do:
      - ear: { listen: { to: { one: { with: { type: go } } } } }
      - other: { listen: { to: { one: { with: { type: never } } } } }
    """
    When the workflow is started
    And this event is published:
    """yaml
    type: go
    source: /x
    """
    And 1m passes
    And the run is cancelled
    Then the workflow should cancel
    And 2 events of type io.serverlessworkflow.workflow.correlation-started.v1 should have been published
    And 1 event of type io.serverlessworkflow.workflow.correlation-completed.v1 should have been published
    And 1 event of type io.serverlessworkflow.workflow.cancelled.v1 should have been published
    And 0 events of type io.serverlessworkflow.task.started.v1 should have been published

  Scenario: A run that others run tells its own life
    Given lifecycle events of workflows are published
    And a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: inner, version: '1.0.0' }
    do:
      - nap: { wait: PT1S }
    """
    And another workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: outer, version: '1.0.0' }
    do:
      - go: { run: { workflow: { namespace: own, name: inner, version: '1.0.0' } } }
    """
    When the workflow is executed
    Then the workflow should complete
    And 2 events of type io.serverlessworkflow.workflow.started.v1 should have been published
    And 2 events of type io.serverlessworkflow.workflow.completed.v1 should have been published
