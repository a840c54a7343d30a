Feature: Fork Task of our own
  Branches run at the same time, each with a copy of the context.

  Scenario: The outputs come in the order of writing
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: order, version: '1.0.0' }
    do:
      - both:
          fork:
            branches:
              - slow: { do: [ { sleep: { wait: PT20S } }, { a: { set: { n: 1 } } } ] }
              - quick: { do: [ { nap: { wait: PT5S } }, { b: { set: { n: 2 } } } ] }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    [ { n: 1 }, { n: 2 } ]
    """
    And the workflow should have taken 20s

  Scenario: Each branch has a copy of the context
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: copies, version: '1.0.0' }
    do:
      - first: { set: { seen: 0 }, export: { as: { n: 1 } } }
      - both:
          fork:
            branches:
              - one: { do: [ { add: { set: { mine: one }, export: { as: '${ $context + { one: true } }' } } }, { nap: { wait: PT10S } }, { look: { set: '${ $context }' } } ] }
              - two: { do: [ { nap: { wait: PT5S } }, { look: { set: '${ $context }' } } ] }
      - after: { set: { branches: '${ . }', context: '${ $context }' } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    branches: [ { n: 1, one: true }, { n: 1 } ]
    context: { n: 1 }
    """

  Scenario: What the fork exports writes back
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: back, version: '1.0.0' }
    do:
      - both:
          fork: { branches: [ { one: { set: { n: 1 } } }, { two: { set: { n: 2 } } } ] }
          export: { as: '${ { sum: (map(.n) | add) } }' }
      - after: { set: '${ $context }' }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    sum: 3
    """

  Scenario: The first branch wins, and the others are cancelled
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: race, version: '1.0.0' }
    do:
      - race:
          fork:
            compete: true
            branches:
              - slow: { do: [ { sleep: { wait: PT1H } }, { late: { call: http, with: { method: post, endpoint: 'https://shop.example/late' } } } ] }
              - deaf: { listen: { to: { one: { with: { type: never } } } } }
              - quick: { do: [ { nap: { wait: PT5S } }, { done: { set: { won: true } } } ] }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    won: true
    """
    And the workflow should have taken 5s
    And sleep should cancel
    And deaf should cancel
    And /late should have been called 0 times

  Scenario: A call in flight of a branch that loses is cut off
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: cutoff, version: '1.0.0' }
    do:
      - race:
          fork:
            compete: true
            branches:
              - slow: { call: http, with: { method: get, endpoint: 'https://shop.example/slow/60000' } }
              - quick: { wait: PT3S }
      - done: { set: { ok: true } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    ok: true
    """
    And the workflow should have taken from 3s to 4s
    And slow should cancel

  Scenario: The fault of a branch is that of the fork
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: fault, version: '1.0.0' }
    do:
      - guard:
          try:
            - both:
                fork:
                  branches:
                    - sleep: { wait: PT1H }
                    - fall: { do: [ { nap: { wait: PT2S } }, { down: { raise: { error: { type: https://shop.example/errors/down, status: 500 } } } } ] }
          catch: { as: why, do: [ { note: { set: { where: '${ $why.instance }' } } } ] }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    where: /do/0/guard/try/0/both/fork/branches/1/fall/do/1/down
    """
    And the workflow should have taken 2s
    And sleep should cancel

  Scenario: A branch that is to end the run does
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: end, version: '1.0.0' }
    do:
      - both:
          fork:
            branches:
              - sleep: { wait: PT1H }
              - stop: { do: [ { nap: { wait: PT1S } }, { over: { set: { over: true }, then: end } } ] }
      - never: { set: { never: true } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    over: true
    """
    And the workflow should have taken 1s

  Scenario: Branches call, wait and listen through a restart
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: mixed, version: '1.0.0' }
    do:
      - all:
          fork:
            branches:
              - calls: { do: [ { ask: { call: http, with: { method: post, endpoint: 'https://shop.example/ask' } } }, { note: { set: { call: '${ .call }' } } } ] }
              - waits: { do: [ { nap: { wait: PT10M } }, { note2: { set: { awake: true } } } ] }
              - hears: { do: [ { ear: { listen: { to: { one: { with: { type: go } } } } } }, { note3: { set: { heard: '${ .[0].n }' } } } ] }
    """
    When the workflow is started
    And 1m passes
    And weft is restarted
    And this event is published:
    """yaml
    type: go
    source: /x
    data: { n: 7 }
    """
    Then the workflow should complete with output:
    """yaml
    [ { call: 1 }, { awake: true }, { heard: 7 } ]
    """
    And the workflow should have taken 10m
    And /ask should have been called 1 times

  Scenario: An event goes to the branch that listened first
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: firstear, version: '1.0.0' }
    do:
      - all:
          fork:
            branches:
              - one: { listen: { to: { one: { with: { type: go } } } } }
              - two: { do: [ { nap: { wait: PT1S } }, { ear: { listen: { to: { one: { with: { type: go } } } } } } ] }
    """
    When the workflow is started
    And 1m passes
    And this event is published:
    """yaml
    type: go
    source: /x
    data: { n: 1 }
    """
    And 1s passes
    And this event is published:
    """yaml
    type: go
    source: /x
    data: { n: 2 }
    """
    Then the workflow should complete with output:
    """yaml
    [ [ { n: 1 } ], [ { n: 2 } ] ]
    """

  Scenario: A timeout of the fork cancels its branches
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: forktime, version: '1.0.0' }
    do:
      - both:
          timeout: { after: PT30S }
          fork: { branches: [ { sleep: { wait: PT1H } }, { ear: { listen: { to: { one: { with: { type: go } } } } } } ] }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/timeout
    status: 408
    instance: /do/0/both
    """
    And the workflow should have taken 30s
    And sleep should cancel
    And ear should cancel
