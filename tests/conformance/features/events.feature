Feature: Listen to several events
  All of several, any until enough, and what is read of them.

  Scenario: All of them, in any order, through a restart
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: all, version: '1.0.0' }
    do:
      - both: { listen: { to: { all: [ { with: { type: paid } }, { with: { type: packed } } ] } } }
      - note: { set: { got: '${ map(.n) }' } }
    """
    When the workflow is started
    And this event is published:
    """yaml
    type: packed
    source: /x
    data: { n: 1 }
    """
    And 1s passes
    And this event is published:
    """yaml
    type: packed
    source: /x
    data: { n: 2 }
    """
    And weft is restarted
    And 1m passes
    Then the workflow should wait
    When this event is published:
    """yaml
    type: paid
    source: /x
    data: { n: 3 }
    """
    Then the workflow should complete with output:
    """yaml
    got: [ 1, 3 ]
    """

  Scenario: All of them came before the listen
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: allearly, version: '1.0.0' }
    do:
      - nap: { wait: PT10M }
      - both: { listen: { to: { all: [ { with: { type: paid } }, { with: { type: packed } } ] } } }
      - note: { set: { got: '${ map(.n) }' } }
    """
    When the workflow is started
    And this event is published:
    """yaml
    type: packed
    source: /x
    data: { n: 1 }
    """
    And 1s passes
    And this event is published:
    """yaml
    type: paid
    source: /x
    data: { n: 2 }
    """
    And weft is restarted
    Then the workflow should complete with output:
    """yaml
    got: [ 1, 2 ]
    """
    And the workflow should have taken 10m

  Scenario: The first of all fixes the correlation
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: allsame, version: '1.0.0' }
    do:
      - both:
          listen:
            to:
              all:
                - with: { type: paid }
                  correlate: { order: { from: .data.order } }
                - with: { type: packed }
                  correlate: { order: { from: .data.order } }
      - note: { set: { orders: '${ map(.order) }' } }
    """
    When the workflow is started
    And this event is published:
    """yaml
    type: paid
    source: /x
    data: { order: o1 }
    """
    And 1s passes
    And this event is published:
    """yaml
    type: packed
    source: /x
    data: { order: o2 }
    """
    And 1m passes
    Then the workflow should wait
    When this event is published:
    """yaml
    type: packed
    source: /x
    data: { order: o1 }
    """
    Then the workflow should complete with output:
    """yaml
    orders: [ o1, o1 ]
    """

  Scenario: Any, until an expression holds
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: untilexpr, version: '1.0.0' }
    do:
      - ticks: { listen: { to: { any: [ { with: { type: tick } }, { with: { type: tock } } ], until: '${ (map(.n) | add) >= 6 }' } } }
      - note: { set: { got: '${ map(.n) }' } }
    """
    When the workflow is started
    And this event is published:
    """yaml
    type: tick
    source: /x
    data: { n: 1 }
    """
    And 1s passes
    And this event is published:
    """yaml
    type: tock
    source: /x
    data: { n: 2 }
    """
    And weft is restarted
    And 1m passes
    Then the workflow should wait
    When this event is published:
    """yaml
    type: tick
    source: /x
    data: { n: 3 }
    """
    And 1s passes
    And this event is published:
    """yaml
    type: tick
    source: /x
    data: { n: 4 }
    """
    Then the workflow should complete with output:
    """yaml
    got: [ 1, 2, 3 ]
    """

  Scenario: Any, until an event comes
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: untilevent, version: '1.0.0' }
    do:
      - ticks: { listen: { to: { any: [ { with: { type: tick } } ], until: { one: { with: { type: stop } } } } } }
      - note: { set: { got: '${ map(.n) }' } }
    """
    When the workflow is started
    And this event is published:
    """yaml
    type: tick
    source: /x
    data: { n: 1 }
    """
    And 1s passes
    And this event is published:
    """yaml
    type: tick
    source: /x
    data: { n: 2 }
    """
    And weft is restarted
    And this event is published:
    """yaml
    type: stop
    source: /x
    """
    And 1s passes
    And this event is published:
    """yaml
    type: tick
    source: /x
    data: { n: 3 }
    """
    Then the workflow should complete with output:
    """yaml
    got: [ 1, 2 ]
    """

  Scenario: Any event at all, until one comes
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: everything, version: '1.0.0' }
    do:
      - ticks: { listen: { to: { any: [], until: { one: { with: { type: stop } } } }, read: envelope } }
      - note: { set: { got: '${ map(.type) }' } }
    """
    When the workflow is started
    And this event is published:
    """yaml
    type: a
    source: /x
    """
    And 1s passes
    And this event is published:
    """yaml
    type: b
    source: /x
    """
    And 1s passes
    And this event is published:
    """yaml
    type: stop
    source: /x
    """
    Then the workflow should complete with output:
    """yaml
    got: [ a, b ]
    """

  Scenario: Read as data
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: data, version: '1.0.0' }
    do:
      - ear: { listen: { to: { one: { with: { type: go } } }, read: data } }
    """
    When the workflow is started
    And this event is published:
    """yaml
    type: go
    source: /x
    data: { n: 1 }
    """
    Then the workflow should complete with output:
    """yaml
    [ { n: 1 } ]
    """

  Scenario: Read as an envelope
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: envelope, version: '1.0.0' }
    do:
      - ear: { listen: { to: { one: { with: { type: go } } }, read: envelope } }
      - note: { set: { id: '${ .[0].id }', subject: '${ .[0].subject }', n: '${ .[0].data.n }' } }
    """
    When the workflow is started
    And this event is published:
    """yaml
    id: e7
    type: go
    source: /x
    subject: o1
    data: { n: 1 }
    """
    Then the workflow should complete with output:
    """yaml
    { id: e7, subject: o1, n: 1 }
    """

  Scenario: Read raw
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: raw, version: '1.0.0' }
    do:
      - ear: { listen: { to: { one: { with: { type: go } } }, read: raw } }
    """
    When the workflow is started
    And this event is published:
    """yaml
    type: go
    source: /x
    data: { n: 1 }
    """
    Then the workflow should complete with output:
    """yaml
    [ '{"n": 1}' ]
    """

  Scenario: For each event its tasks, one after the other
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: foreach, version: '1.0.0' }
    do:
      - ticks:
          listen: { to: { any: [ { with: { type: tick } } ], until: '${ length == 3 }' } }
          foreach:
            item: tick
            at: i
            do:
              - nap: { wait: PT10S }
              - take: { call: http, with: { method: post, endpoint: 'https://shop.example/take' } }
              - note: { set: { n: '${ $tick.n }', i: '${ $i }', call: '${ .call }' } }
            output: { as: '${ . }' }
      - done: { set: { got: '${ . }' } }
    """
    When the workflow is started
    And this event is published:
    """yaml
    type: tick
    source: /x
    data: { n: 5 }
    """
    And 1s passes
    And this event is published:
    """yaml
    type: tick
    source: /x
    data: { n: 6 }
    """
    And 5s passes
    And weft is restarted
    And this event is published:
    """yaml
    type: tick
    source: /x
    data: { n: 7 }
    """
    Then the workflow should complete with output:
    """yaml
    got: [ { n: 5, i: 0, call: 1 }, { n: 6, i: 1, call: 2 }, { n: 7, i: 2, call: 3 } ]
    """
    And /take should have been called 3 times
    And the workflow should have taken from 30s to 31s

  Scenario: A listen that nobody answers times out
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: nobody, version: '1.0.0' }
    do:
      - guard:
          try: [ { ear: { timeout: { after: PT5M }, listen: { to: { all: [ { with: { type: a } }, { with: { type: b } } ] } } } } ]
          catch: { errors: { with: { status: 408 } }, do: [ { note: { set: { late: true } } } ] }
    """
    When the workflow is started
    And this event is published:
    """yaml
    type: a
    source: /x
    """
    And weft is restarted
    Then the workflow should complete with output:
    """yaml
    late: true
    """
    And the workflow should have taken 5m
