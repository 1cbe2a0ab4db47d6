"""A project's plans and prices for its developers, and what everybody may see of them."""

import uuid

from django.db.models import Prefetch
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import DeveloperAuthentication, developer_of
from common.errors import FieldError
from common.modes import mode_of
from common.paging import paginate
from common.query import read_test_mode
from common.schema import IDEMPOTENCY_KEY, PAGING, error_responses
from entitlements.models import Plan, PlanPrice
from entitlements.plan_bodies import (
    ChangePlanSerializer,
    ChangePriceSerializer,
    CreatePlanSerializer,
    CreatePriceSerializer,
    PlanListSerializer,
    PlanSerializer,
    PriceSerializer,
    PublicPlanSerializer,
    PublicPlansSerializer,
)
from entitlements.services import plans
from entitlements.services.plan_fields import PLANS_MAX
from projects.access import ProjectNotFound, get_project_for
from projects.cors import let_pages_read
from projects.idempotent_view import idempotent
from projects.models import Project, Role
from projects.services.projects import clean_slug

TAGS = ["Developer"]
TEST_MODE = OpenApiParameter(
    "test_mode",
    bool,
    OpenApiParameter.QUERY,
    default=True,
    description="Which mode's prices; test unless it says otherwise.",
)
SLUG = OpenApiParameter("project", str, OpenApiParameter.QUERY, required=True, description="The project's slug.")
GONE = OpenApiResponse(description="Deleted; or archived or taken off sale, because somebody has or had it.")


class DeveloperPlansView(APIView):
    """A view for a developer's token."""

    authentication_classes = [DeveloperAuthentication]

    def project(self, project_id: uuid.UUID, min_role: Role = Role.VIEWER) -> Project:
        """Return a project of the caller. Raises: ProjectNotFound (404), RoleTooLow (403)."""
        return get_project_for(user=developer_of(self.request), project_id=project_id, min_role=min_role)


class PlansView(DeveloperPlansView):
    @extend_schema(
        operation_id="list_plans",
        tags=TAGS,
        parameters=PAGING,
        responses={200: PlanListSerializer, **error_responses(401, 404, 422)},
    )
    def get(self, request: Request, project_id: uuid.UUID) -> Response:
        """List a project's plans with limits and prices, newest first; archived and internal ones too."""
        rows = Plan.objects.for_project(self.project(project_id)).prefetch_related("prices")
        return Response(
            paginate(
                rows, request.query_params, key="plans", render=lambda found: PlanSerializer(found, many=True).data
            )
        )

    @extend_schema(
        operation_id="create_plan",
        tags=TAGS,
        parameters=[IDEMPOTENCY_KEY],
        request=CreatePlanSerializer,
        responses={201: PlanSerializer, **error_responses(400, 401, 403, 404, 409, 415, 422)},
    )
    @idempotent()
    def post(self, request: Request, project_id: uuid.UUID) -> Response:
        """Add a plan. Its prices are added to it afterwards."""
        project = self.project(project_id, Role.DEVELOPER)
        body = CreatePlanSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        plan = plans.create_plan(project=project, actor=developer_of(request), fields=body.flat())
        return Response(PlanSerializer(plan).data, status=201)


class PlanView(DeveloperPlansView):
    @extend_schema(operation_id="read_plan", tags=TAGS, responses={200: PlanSerializer, **error_responses(401, 404)})
    def get(self, request: Request, project_id: uuid.UUID, plan_id: uuid.UUID) -> Response:
        """Read one plan with limits and prices."""
        return Response(PlanSerializer(plans.find_plan(project=self.project(project_id), plan_id=plan_id)).data)

    @extend_schema(
        operation_id="update_plan",
        tags=TAGS,
        request=ChangePlanSerializer,
        responses={200: PlanSerializer, **error_responses(400, 401, 403, 404, 415, 422)},
    )
    def put(self, request: Request, project_id: uuid.UUID, plan_id: uuid.UUID) -> Response:
        """Change a plan. What is left out is kept; of limits, too."""
        project = self.project(project_id, Role.DEVELOPER)
        body = ChangePlanSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        plan = plans.update_plan(project=project, plan_id=plan_id, actor=developer_of(request), fields=body.flat())
        return Response(PlanSerializer(plan).data)

    @extend_schema(operation_id="delete_plan", tags=TAGS, responses={204: GONE, **error_responses(401, 403, 404)})
    def delete(self, request: Request, project_id: uuid.UUID, plan_id: uuid.UUID) -> Response:
        """Delete a plan, or archive it when somebody has or had it: nobody loses a plan by this."""
        project = self.project(project_id, Role.DEVELOPER)
        plans.remove_plan(project=project, plan_id=plan_id, actor=developer_of(request))
        return Response(status=204)


class PlanPricesView(DeveloperPlansView):
    @extend_schema(
        operation_id="create_plan_price",
        tags=TAGS,
        parameters=[IDEMPOTENCY_KEY],
        request=CreatePriceSerializer,
        responses={201: PriceSerializer, **error_responses(400, 401, 403, 404, 409, 415, 422)},
    )
    @idempotent()
    def post(self, request: Request, project_id: uuid.UUID, plan_id: uuid.UUID) -> Response:
        """Add a price to a plan, in one mode."""
        project = self.project(project_id, Role.DEVELOPER)
        body = CreatePriceSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        fields = dict(body.validated_data)
        fields["mode"] = mode_of(fields.pop("is_test_mode"))
        price = plans.create_price(project=project, plan_id=plan_id, actor=developer_of(request), fields=fields)
        return Response(PriceSerializer(price).data, status=201)


class PlanPriceView(DeveloperPlansView):
    @extend_schema(
        operation_id="update_plan_price",
        tags=TAGS,
        request=ChangePriceSerializer,
        responses={200: PriceSerializer, **error_responses(400, 401, 403, 404, 415, 422)},
    )
    def put(self, request: Request, project_id: uuid.UUID, plan_id: uuid.UUID, price_id: uuid.UUID) -> Response:
        """Change a price. One that is at Stripe keeps its amount: add another one, as Stripe does."""
        project = self.project(project_id, Role.DEVELOPER)
        body = ChangePriceSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        price = plans.update_price(
            project=project, plan_id=plan_id, price_id=price_id, actor=developer_of(request), fields=body.validated_data
        )
        return Response(PriceSerializer(price).data)

    @extend_schema(operation_id="delete_plan_price", tags=TAGS, responses={204: GONE, **error_responses(401, 403, 404)})
    def delete(self, request: Request, project_id: uuid.UUID, plan_id: uuid.UUID, price_id: uuid.UUID) -> Response:
        """Delete a price, or take it off sale when somebody may pay it: whoever does keeps the plan."""
        project = self.project(project_id, Role.DEVELOPER)
        plans.remove_price(project=project, plan_id=plan_id, price_id=price_id, actor=developer_of(request))
        return Response(status=204)


class PublicPlansView(APIView):
    @extend_schema(
        operation_id="list_public_plans",
        tags=["Public"],
        auth=[],
        parameters=[SLUG, TEST_MODE],
        responses={200: PublicPlansSerializer, **error_responses(404, 422)},
    )
    def get(self, request: Request) -> Response:
        """List what a project sells, the lowest rank first. Internal and archived plans are not shown."""
        mode = mode_of(read_test_mode(request.query_params))
        project = _project_named(request.query_params.get("project"))
        let_pages_read(request._request, project)
        # An amount of 0 was never entered: Stripe has not been asked yet what it charges.
        known = PlanPrice.objects.for_project(project).on_sale().filter(mode=mode, amount_cents__gt=0)
        sold = known.order_by("interval", "amount_cents", "id")
        rows = Plan.objects.for_project(project).on_offer().order_by("rank", "code")
        shown = rows.prefetch_related(Prefetch("prices", queryset=sold, to_attr="prices_on_sale"))[:PLANS_MAX]
        return Response(
            {
                "project": project.slug,
                "is_test_mode": mode == "test",
                "plans": PublicPlanSerializer(shown, many=True).data,
            }
        )


def _project_named(slug: str | None) -> Project:
    if not slug:
        raise FieldError("query", "project", msg="Name the project by its slug.", type="missing")
    try:
        project = Project.objects.existing().filter(slug=clean_slug(slug), is_active=True).first()
    except ValueError:
        project = None
    if project is None:
        raise ProjectNotFound
    return project
