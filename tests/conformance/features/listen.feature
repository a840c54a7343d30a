Feature: Listen Task
  A run waits for an event, takes it once, and takes no other.

  Scenario: The event comes while the run listens
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: listen, version: '1.0.0' }
    do:
      - paid:
          listen:
            to:
              one:
                with: { type: order.paid }
                correlate: { order: { from: '${ .data.order }', expect: '${ $workflow.input.order }' } }
      - note: { set: { paid: '${ .[0].amount }' } }
    """
    And given the workflow input is:
    """yaml
    order: o1
    """
    When the workflow is started
    And 1m passes
    Then the workflow should wait
    When this event is published:
    """yaml
    type: order.paid
    source: /shop
    data: { order: o2, amount: 9 }
    """
    And 1m passes
    Then the workflow should wait
    When this event is published:
    """yaml
    type: order.paid
    source: /shop
    data: { order: o1, amount: 7 }
    """
    Then the workflow should complete with output:
    """yaml
    paid: 7
    """

  Scenario: The event comes before the listen
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: early, version: '1.0.0' }
    do:
      - sleep: { wait: PT10M }
      - paid:
          listen:
            to:
              one:
                with: { type: order.paid }
                correlate: { order: { from: '${ .data.order }', expect: '${ $workflow.input.order }' } }
      - note: { set: { paid: '${ .[0].amount }' } }
    """
    And given the workflow input is:
    """yaml
    order: o1
    """
    When the workflow is started
    And this event is published:
    """yaml
    type: order.paid
    source: /shop
    data: { order: o1, amount: 7 }
    """
    Then the workflow should complete with output:
    """yaml
    paid: 7
    """
    And the workflow should have taken 10m

  Scenario: The event comes after a restart
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: later, version: '1.0.0' }
    do:
      - paid:
          listen:
            to:
              one:
                with: { type: order.paid }
                correlate: { order: { from: '${ .data.order }', expect: '${ $workflow.input.order }' } }
      - note: { set: { paid: '${ .[0].amount }' } }
    """
    And given the workflow input is:
    """yaml
    order: o1
    """
    When the workflow is started
    And weft is restarted
    And this event is published:
    """yaml
    type: order.paid
    source: /shop
    data: { order: o1, amount: 7 }
    """
    Then the workflow should complete with output:
    """yaml
    paid: 7
    """

  Scenario: The same event comes twice and is taken once
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: twice, version: '1.0.0' }
    do:
      - first: { listen: { to: { one: { with: { type: tick } } } } }
      - second: { listen: { to: { one: { with: { type: tick } } } } }
      - note: { set: { got: '${ .[0].n }' } }
    """
    When the workflow is started
    And this event is published:
    """yaml
    id: t1
    type: tick
    source: /clock
    data: { n: 1 }
    """
    And this event is published:
    """yaml
    id: t1
    type: tick
    source: /clock
    data: { n: 1 }
    """
    And 1m passes
    Then the workflow should wait
    When this event is published:
    """yaml
    id: t2
    type: tick
    source: /clock
    data: { n: 2 }
    """
    Then the workflow should complete with output:
    """yaml
    got: 2
    """

  Scenario: Any of several events, read as an envelope
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: any, version: '1.0.0' }
    do:
      - wait: { listen: { to: { any: [ { with: { type: order.paid } }, { with: { type: order.cancelled, source: /shop } } ] }, read: envelope } }
      - note: { set: { type: '${ .[0].type }', subject: '${ .[0].subject }' } }
    """
    When the workflow is started
    And this event is published:
    """yaml
    type: order.cancelled
    source: /shop
    subject: o1
    """
    Then the workflow should complete with output:
    """yaml
    type: order.cancelled
    subject: o1
    """

  Scenario: The first event fixes what the others must match
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: first, version: '1.0.0' }
    do:
      - one: { listen: { to: { one: { with: { type: a }, correlate: { customer: { from: .data.customer } } } } } }
      - two: { listen: { to: { one: { with: { type: b }, correlate: { customer: { from: .data.customer } } } } } }
    """
    When the workflow is started
    And this event is published:
    """yaml
    type: a
    source: /x
    data: { customer: ada }
    """
    And weft is restarted
    And this event is published:
    """yaml
    type: b
    source: /x
    data: { customer: bob }
    """
    And this event is published:
    """yaml
    type: b
    source: /x
    data: { customer: ada }
    """
    Then the workflow should complete with output:
    """yaml
    - customer: ada
    """
