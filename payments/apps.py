from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "payments"
    verbose_name = "Payments"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register what apps below ask for by name."""
        from entitlements.services.declared_sections import Section, register_section
        from entitlements.services.overage import USAGE_BILL
        from licenses.services.declared import SECTION, apply_product, drop_products, read_products
        from licenses.services.purchases import register_purchase_reader
        from notifications.services.mail import register_billing_address, register_payer_address
        from notifications.services.outbox import register_executor
        from payments.services.alert_measures import register_measures
        from payments.services.background_customers import STRIPE_CUSTOMER, make_planned_customer, plan_customer
        from payments.services.billing_policy import REVOCATIONS, STANDINGS
        from payments.services.license_returns import look_up_purchase
        from payments.services.recipients import billing_address, payer_address
        from payments.services.refunds import STRIPE_REFUND, carry_out_refund
        from payments.services.revocation import redo_revocations
        from payments.services.shared_webhook import check_project
        from payments.services.staff_subscriptions import STAFF_CHANGE, carry_out_staff_change
        from payments.services.standing import redo_standings
        from payments.services.usage_billing import bill_usage
        from projects.appearance import register_listener
        from projects.shared_webhook import register_check

        register_section(SECTION, Section(read_products, apply_product, drop_products))
        register_check(check_project)
        register_billing_address(billing_address)
        register_payer_address(payer_address)
        register_purchase_reader(look_up_purchase)
        register_listener(plan_customer)
        register_executor(STRIPE_CUSTOMER, make_planned_customer)
        register_executor(STRIPE_REFUND, carry_out_refund)
        register_executor(STAFF_CHANGE, carry_out_staff_change)
        register_executor(REVOCATIONS, redo_revocations)
        register_executor(STANDINGS, redo_standings)
        register_executor(USAGE_BILL, bill_usage)
        register_measures()
