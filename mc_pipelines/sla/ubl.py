"""The credit note as UBL 2.1 (type 381) under EN 16931, for the customer's accounting.

UBL has no negative credit notes: amounts here are positive and mean that we owe. A reversal is no credit note
and has no UBL form. SLA credits carry no VAT of their own here (category O, outside the scope of VAT); a
seller whose tax rules differ must take the UBL from billing instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.money import Money
from mc_pipelines.sla.contract import Contract
from mc_pipelines.sla.draft_store import Subject

SELLER = {"name": "Maestro Conductor", "country": "US"}
"""Who issues; a deployment sets its own legal name and country."""
_COMMON = "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2"
_AGGREGATE = "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2"
_ROOT = "urn:oasis:names:specification:ubl:schema:xsd:CreditNote-2"
_EN16931 = "urn:cen.eu:en16931:2017"


def credit_note_xml(
    number: str,
    issued_at: datetime,
    subject: Subject,
    credit: Money,
    contract: Contract,
    figures: Mapping[str, Any],
    *,
    seller: Mapping[str, str] = SELLER,
) -> bytes:
    """Return an issued note as a UBL 2.1 CreditNote document.

    Args:
        number: of the note.
        issued_at: when it was issued.
        subject: whose it is, and for which period.
        credit: what it gives.
        contract: what it was measured under.
        figures: the figures of its statement.
        seller: legal name and ISO 3166 country of the issuer.

    Raises:
        InputError: the note is a reversal.
    """
    if credit.minor <= 0:
        raise InputError("A reversal has no UBL credit note", field="number", value=number)
    amount, currency = str(credit.amount), credit.currency
    reason = (
        f"Service level credit: {contract.title}, {figures['shown']} per cent against {figures['target']},"
        f" {figures['creditPercent']} per cent of the charge"
    )
    money = f'currencyID="{currency}"'
    category = "<cac:TaxScheme><cbc:ID>VAT</cbc:ID></cac:TaxScheme>"
    exempt = "<cbc:TaxExemptionReason>Not subject to VAT</cbc:TaxExemptionReason>"
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<CreditNote xmlns="{_ROOT}" xmlns:cac="{_AGGREGATE}" xmlns:cbc="{_COMMON}">
  <cbc:CustomizationID>{_EN16931}</cbc:CustomizationID>
  <cbc:ID>{escape(number)}</cbc:ID>
  <cbc:IssueDate>{issued_at.date().isoformat()}</cbc:IssueDate>
  <cbc:CreditNoteTypeCode>381</cbc:CreditNoteTypeCode>
  <cbc:Note>{escape(reason)}</cbc:Note>
  <cbc:DocumentCurrencyCode>{currency}</cbc:DocumentCurrencyCode>
  <cac:InvoicePeriod>
    <cbc:StartDate>{subject.first.isoformat()}</cbc:StartDate>
    <cbc:EndDate>{subject.last.isoformat()}</cbc:EndDate>
  </cac:InvoicePeriod>
  <cac:ContractDocumentReference>
    <cbc:ID>{escape(contract.name)} {escape(subject.contract)}</cbc:ID>
  </cac:ContractDocumentReference>
  <cac:AccountingSupplierParty>
    <cac:Party>
      <cac:PartyIdentification><cbc:ID>{escape(seller["name"])}</cbc:ID></cac:PartyIdentification>
      <cac:PostalAddress>
        <cac:Country><cbc:IdentificationCode>{escape(seller["country"])}</cbc:IdentificationCode></cac:Country>
      </cac:PostalAddress>
      <cac:PartyLegalEntity><cbc:RegistrationName>{escape(seller["name"])}</cbc:RegistrationName></cac:PartyLegalEntity>
    </cac:Party>
  </cac:AccountingSupplierParty>
  <cac:AccountingCustomerParty>
    <cac:Party>
      <cac:PostalAddress>
        <cac:Country><cbc:IdentificationCode>{escape(seller["country"])}</cbc:IdentificationCode></cac:Country>
      </cac:PostalAddress>
      <cac:PartyLegalEntity><cbc:RegistrationName>{escape(subject.tenant)}</cbc:RegistrationName></cac:PartyLegalEntity>
    </cac:Party>
  </cac:AccountingCustomerParty>
  <cac:PaymentTerms><cbc:Note>Set off against the next invoice; no claim is needed.</cbc:Note></cac:PaymentTerms>
  <cac:TaxTotal>
    <cbc:TaxAmount {money}>0</cbc:TaxAmount>
    <cac:TaxSubtotal>
      <cbc:TaxableAmount {money}>{amount}</cbc:TaxableAmount>
      <cbc:TaxAmount {money}>0</cbc:TaxAmount>
      <cac:TaxCategory><cbc:ID>O</cbc:ID>{exempt}{category}</cac:TaxCategory>
    </cac:TaxSubtotal>
  </cac:TaxTotal>
  <cac:LegalMonetaryTotal>
    <cbc:LineExtensionAmount {money}>{amount}</cbc:LineExtensionAmount>
    <cbc:TaxExclusiveAmount {money}>{amount}</cbc:TaxExclusiveAmount>
    <cbc:TaxInclusiveAmount {money}>{amount}</cbc:TaxInclusiveAmount>
    <cbc:PayableAmount {money}>{amount}</cbc:PayableAmount>
  </cac:LegalMonetaryTotal>
  <cac:CreditNoteLine>
    <cbc:ID>1</cbc:ID>
    <cbc:CreditedQuantity unitCode="C62">1</cbc:CreditedQuantity>
    <cbc:LineExtensionAmount {money}>{amount}</cbc:LineExtensionAmount>
    <cac:Item>
      <cbc:Name>Service level credit, {escape(subject.service)}, {escape(subject.objective.value)}</cbc:Name>
      <cac:ClassifiedTaxCategory><cbc:ID>O</cbc:ID>{category}</cac:ClassifiedTaxCategory>
    </cac:Item>
    <cac:Price><cbc:PriceAmount {money}>{amount}</cbc:PriceAmount></cac:Price>
  </cac:CreditNoteLine>
</CreditNote>
""".encode()
