Feature: Schedule
  An event starts a run, once.

  Scenario: Start on an event
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: on, version: '1.0.0' }
    schedule: { on: { one: { with: { type: order.placed, data: '${ .total > 10 }' } } } }
    do:
      - note: { set: { total: '${ .[0].total }' } }
    """
    When this event is published:
    """yaml
    type: order.placed
    source: /shop
    data: { total: 5 }
    """
    And this event is published:
    """yaml
    type: order.placed
    source: /shop
    data: { total: 50 }
    """
    Then there should be 1 run of on
    Then the workflow should complete with output:
    """yaml
    total: 50
    """

  Scenario: The same event starts one run
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: once, version: '1.0.0' }
    schedule: { on: { any: [ { with: { type: order.placed } }, { with: { type: order.changed } } ] }, read: envelope }
    do:
      - note: { set: { id: '${ .[0].id }' } }
    """
    When this event is published:
    """yaml
    id: e1
    type: order.changed
    source: /shop
    """
    And weft is restarted
    And this event is published:
    """yaml
    id: e1
    type: order.changed
    source: /shop
    """
    Then there should be 1 run of once
    Then the workflow should complete with output:
    """yaml
    id: e1
    """

  Scenario: What one workflow emits starts another
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: second, version: '1.0.0' }
    schedule: { on: { one: { with: { type: first.done } } } }
    do:
      - note: { set: { got: '${ .[0].n }' } }
    """
    And another workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: first, version: '1.0.0' }
    do:
      - tell: { emit: { event: { with: { source: /own/first, type: first.done, data: { n: '${ .n }' } } } } }
    """
    And given the workflow input is:
    """yaml
    n: 3
    """
    When the workflow is executed
    Then the workflow should complete
    And 1 event of type first.done should have been published
    And there should be 1 run of second
    Then the workflow should complete with output:
    """yaml
    got: 3
    """
