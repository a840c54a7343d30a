Feature: Errors of our own
  What fails is caught, undone, or told.

  Scenario: Compensate in the order of the undoing
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: saga, version: '1.0.0' }
    do:
      - fulfil:
          try:
            - reserve: { call: http, with: { method: post, endpoint: 'https://shop.example/reserve' }, export: { as: '${ $context + { reserved: .call } }' } }
            - charge: { call: http, with: { method: post, endpoint: 'https://shop.example/charge' }, export: { as: '${ $context + { charged: .call } }' } }
            - ship: { call: http, with: { method: post, endpoint: 'https://shop.example/fail/409/9' } }
          catch:
            as: why
            do:
              - refund: { if: '${ $context.charged != null }', call: http, with: { method: post, endpoint: 'https://shop.example/refund' } }
              - release: { if: '${ $context.reserved != null }', call: http, with: { method: post, endpoint: 'https://shop.example/release' } }
              - reject: { raise: { error: { type: https://shop.example/errors/order, status: 422, title: Order failed, detail: '${ "ship answered \($why.status)" }' } } }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://shop.example/errors/order
    status: 422
    title: Order failed
    detail: ship answered 409
    instance: /do/0/fulfil/catch/do/2/reject
    """
    And refund should run before release
    And /reserve should have been called 1 times
    And /charge should have been called 1 times
    And /refund should have been called 1 times
    And /release should have been called 1 times

  Scenario: Raise an error by its name and catch it by its type
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: raise, version: '1.0.0' }
    use: { errors: { late: { type: https://shop.example/errors/late, status: 410, title: Too late } } }
    do:
      - around:
          try: [ { no: { raise: { error: late } } } ]
          catch: { errors: { with: { type: https://shop.example/errors/late } }, when: '${ $error.status == 410 }', as: error, do: [ { note: { set: '${ $error.title }' } } ] }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    Too late
    """

  Scenario: An error that the filter does not take goes on
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: filter, version: '1.0.0' }
    do:
      - around:
          try: [ { no: { raise: { error: { type: https://shop.example/errors/late, status: 410 } } } } ]
          catch: { exceptWhen: '${ $error.status == 410 }', do: [ { note: { set: { caught: true } } } ] }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 410
    instance: /do/0/around/try/0/no
    """

  Scenario: Emit an event once
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: emit, version: '1.0.0' }
    do:
      - sleep: { wait: PT1S }
      - tell: { emit: { event: { with: { source: /own, type: told, subject: '${ $workflow.id }', data: { n: 1 } } } } }
      - rest: { wait: PT1S }
    """
    When the workflow is executed
    Then the workflow should complete
    And 1 event of type told should have been published
