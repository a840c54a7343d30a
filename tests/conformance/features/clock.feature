Feature: Time starts runs
  Each time has one run; of those that were missed, the latest has.

  Scenario: Every ten minutes
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: every, version: '1.0.0' }
    schedule: { every: PT10M }
    do:
      - note: { set: { input: '${ . }' } }
    """
    When 5m passes
    Then there should be 0 runs of every
    When 15m passes
    Then there should be 2 runs of every
    Then the workflow should complete with output:
    """yaml
    input: null
    """
    When weft is restarted
    And 8m passes
    Then there should be 3 runs of every

  Scenario: Of missed times the latest counts
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: missed, version: '1.0.0' }
    schedule: { every: PT10M }
    do:
      - note: { set: { ok: true } }
    """
    When 1m passes
    And weft is away for 35m
    Then there should be 1 run of missed
    Then the workflow should complete with output:
    """yaml
    ok: true
    """
    When 3m passes
    Then there should be 2 runs of missed

  Scenario: After the end of the run before
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: after, version: '1.0.0' }
    schedule: { after: PT10M }
    do:
      - work: { wait: PT5M }
      - note: { set: { ok: true } }
    """
    When 1m passes
    Then there should be 1 run of after
    Then the workflow should complete with output:
    """yaml
    ok: true
    """
    When weft is restarted
    And 6m passes
    Then there should be 1 run of after
    When 5m passes
    Then there should be 2 runs of after
    Then the workflow should complete with output:
    """yaml
    ok: true
    """

  Scenario: After a run that failed
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: again, version: '1.0.0' }
    schedule: { after: PT10M }
    do:
      - ask: { call: http, with: { method: post, endpoint: 'https://shop.example/fail/500/1' } }
      - note: { set: { call: '${ .call }' } }
    """
    Then there should be 1 run of again
    Then the workflow should fault
    When 10m passes
    Then there should be 2 runs of again
    Then the workflow should complete with output:
    """yaml
    call: 2
    """

  Scenario: A cron in a time zone
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: cron, version: '1.0.0' }
    schedule: { cron: 'CRON_TZ=Asia/Kolkata 35 5 * * SAT' }
    do:
      - note: { set: { ok: true } }
    """
    When 1m passes
    Then there should be 0 runs of cron
    When 4m passes
    Then there should be 1 run of cron
    Then the workflow should complete with output:
    """yaml
    ok: true
    """
    When 10m passes
    Then there should be 1 run of cron

  Scenario: A cron in UTC
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: utc, version: '1.0.0' }
    schedule: { cron: '*/5 0 1 1 *' }
    do:
      - note: { set: { ok: true } }
    """
    When 6m passes
    Then there should be 1 run of utc
    When 5m passes
    Then there should be 2 runs of utc

  Scenario: The newest version has the schedule
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: newest, version: '1.0.0' }
    schedule: { every: PT10M }
    do:
      - note: { set: { version: 1 } }
    """
    When 11m passes
    And another workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: newest, version: '1.1.0' }
    schedule: { every: PT20M }
    do:
      - note: { set: { version: 2 } }
    """
    Then there should be 1 run of newest
    Then the workflow should complete with output:
    """yaml
    version: 1
    """
    When 20m passes
    Then there should be 2 runs of newest
    Then the workflow should complete with output:
    """yaml
    version: 2
    """

  Scenario: An event and a time start the same workflow
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: both, version: '1.0.0' }
    schedule: { every: PT10M, on: { one: { with: { type: go } } } }
    do:
      - note: { set: { got: '${ .[0].n? }' } }
    """
    When 11m passes
    And this event is published:
    """yaml
    type: go
    source: /x
    data: { n: 4 }
    """
    Then there should be 2 runs of both
    Then the workflow should complete with output:
    """yaml
    got: 4
    """
